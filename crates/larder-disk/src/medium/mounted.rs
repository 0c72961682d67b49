//! A disk that the kernel has mounted. What is on it may be foreign: no link is followed, and nothing is opened but regular files.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, lgetxattr, llistxattr, major, minor};

use super::{MediumError, Place, Stat, time};
use crate::tree::{Attributes, Content, Directory, Kind, Name, Xattrs};

/// The kernel's limit for a value and for a list of names, bytes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 65_536;
/// Content is handed over in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// A mounted disk.
pub(crate) struct Mounted {
    root: PathBuf,
}

impl Mounted {
    pub(super) fn at(root: &Path) -> Self {
        // The place itself may be named by a link; what is on the disk may not.
        Self { root: fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()) }
    }

    pub(super) fn stat(&self, path: &Path) -> Result<Stat, MediumError> {
        let place = self.place(path);
        let metadata = place.symlink_metadata()?;
        let file_type = metadata.file_type();
        let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
        let kind = match () {
            () if file_type.is_file() => Kind::File(Content { size: metadata.len(), ..Content::default() }),
            () if file_type.is_dir() => Kind::Directory(Directory::default()),
            () if file_type.is_symlink() => {
                Kind::Symlink(fs::read_link(&place)?.as_os_str().as_bytes().into())
            }
            () if file_type.is_char_device() => Kind::CharacterDevice { major, minor },
            () if file_type.is_block_device() => Kind::BlockDevice { major, minor },
            () if file_type.is_fifo() => Kind::Fifo,
            () => return Err(MediumError::Socket),
        };
        let mode = (metadata.mode() & 0o7777) as u16;
        let attributes = Attributes {
            mode,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            xattrs: None,
        };
        Ok(Stat {
            id: metadata.ino(),
            linked: metadata.nlink() > 1,
            // Where the blocks are only the file system knows; most were given out in this order.
            order: metadata.ino(),
            occupied: metadata.blocks() * 512,
            kind,
            attributes,
        })
    }

    pub(super) fn xattrs(&self, path: &Path) -> io::Result<Xattrs> {
        let place = self.place(path);
        let mut names = Vec::with_capacity(XATTR_MAX);
        match llistxattr(&place, rustix::buffer::spare_capacity(&mut names)) {
            Ok(0) | Err(rustix::io::Errno::NOTSUP) => return Ok(None),
            listed => listed?,
        };
        let mut found = Attributes::default();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = Vec::with_capacity(XATTR_MAX);
            let name_c = CString::new(name).map_err(io::Error::other)?;
            lgetxattr(&place, &name_c, rustix::buffer::spare_capacity(&mut value))?;
            found.set_xattr(name, &value);
        }
        Ok(found.xattrs)
    }

    pub(super) fn children(&self, path: &Path) -> io::Result<Vec<(Name, Place)>> {
        let child = |entry: io::Result<fs::DirEntry>| {
            let name = entry?.file_name();
            Ok((name.as_bytes().into(), Place::Path(path.join(name))))
        };
        fs::read_dir(self.place(path))?.map(child).collect()
    }

    pub(super) fn child(&self, path: &Path, name: &str) -> io::Result<Option<PathBuf>> {
        if !self.place(path).symlink_metadata()?.is_dir() {
            return Ok(None);
        }
        let child = path.join(OsStr::new(name));
        match self.place(&child).symlink_metadata() {
            Ok(_) => Ok(Some(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn content(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        // A pipe in the file's place would never open, and a link would lead elsewhere.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = File::options().read(true).custom_flags(flags).open(self.place(path))?;
        // One byte more, so that the end is noticed without asking again.
        let size = usize::try_from(file.metadata()?.len()).map_or(PIECE, |size| size.min(PIECE - 1) + 1);
        let mut buffer = vec![0; size];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => sink(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn place(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}
