//! What a cache disk is read from: an image or a device, by our own ext4 reader, or a directory where the kernel has it mounted.

mod layer;
mod mounted;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use bytes::Bytes;

pub(crate) use crate::ext4::read::Window;
use crate::ext4::read::{Facts, FileSystem, FileType, Findings, Inode, ROOT, ReadError};
use crate::tree::{Attributes, Content, Directory, Kind, Name, Time, Xattrs};
pub(crate) use layer::{LayerRead, Sums};
use mounted::Mounted;

/// Sixteen times what a system call takes for a path; deeper trees are not worth the time that their paths would take.
const MAX_PATH: usize = 64 << 10;

/// A disk that is read.
pub(crate) enum Medium {
    /// An image or a block device.
    Image(Box<FileSystem>),
    /// A mounted disk.
    Mounted(Mounted),
}

/// A file, directory or link on a medium.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On an image: its inode.
    Inode(u32),
    /// On a mounted disk: its path from the root, without links on the way.
    Path(std::path::PathBuf),
}

/// What is at a place.
pub(crate) struct Stat {
    /// Tells whether two names are of one file.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
    /// Whether it may have more names.
    pub(crate) linked: bool,
    /// Grows with the place of its content on the disk.
    pub(crate) order: u64,
    /// Bytes on the disk, also those of its maps and attributes.
    pub(crate) occupied: u64,
}

/// Why something on a disk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// The file system is damaged.
    #[error(transparent)]
    FileSystem(#[from] ReadError),
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not there.
    #[error("there is no such file")]
    Absent,
    /// It is of a kind that cannot be here.
    #[error("it is not a {0}")]
    Kind(&'static str),
    /// No archive holds a socket, so no layer does.
    #[error("it is a socket, which no layer has")]
    Socket,
    /// A directory can have one name only.
    #[error("the directory is in several places")]
    SeveralPlaces,
    /// No system call would take it.
    #[error("its path is longer than {MAX_PATH} bytes")]
    PathTooLong,
    /// Reading zeros for hours is no use.
    #[error("with it the layer's sparse files have more than 256 GiB of holes")]
    TooManyHoles,
    /// It is larger than anything that belongs here.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
}

impl Medium {
    /// Opens a disk image, a block device, or a directory where a disk is mounted.
    pub(crate) fn open(path: &Path) -> Result<Self, MediumError> {
        let file_type = std::fs::metadata(path)?.file_type();
        if file_type.is_dir() {
            return Ok(Self::mounted(path));
        }
        // Anything else, a pipe for one, might never end.
        if !file_type.is_file() && !file_type.is_block_device() {
            return Err(MediumError::Kind("disk image, block device or directory"));
        }
        Ok(Self::Image(Box::new(FileSystem::open(path)?)))
    }

    /// The disk mounted at `root`.
    pub(crate) fn mounted(root: &Path) -> Self {
        Self::Mounted(Mounted::at(root))
    }

    /// Size and identity; none for a mounted disk.
    pub(crate) fn facts(&self) -> Result<Option<Facts>, MediumError> {
        match self {
            Self::Image(fs) => Ok(Some(fs.facts()?)),
            Self::Mounted(_) => Ok(None),
        }
    }

    /// The check of the file system itself; none for a mounted disk.
    pub(crate) fn check(&self) -> Option<Findings> {
        match self {
            Self::Image(fs) => Some(fs.check()),
            Self::Mounted(_) => None,
        }
    }

    /// Where the inodes with these numbers are; without those that no name leads to.
    pub(crate) fn paths(&self, inodes: &BTreeSet<u32>) -> HashMap<u32, Vec<u8>> {
        match self {
            Self::Image(fs) if !inodes.is_empty() => fs.paths(inodes),
            _ => HashMap::new(),
        }
    }

    /// The disk's root.
    pub(crate) fn root(&self) -> Place {
        match self {
            Self::Image(_) => Place::Inode(ROOT),
            Self::Mounted(_) => Place::Path(std::path::PathBuf::new()),
        }
    }

    /// What is at `path` from the root; links are never followed.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Place>, MediumError> {
        let mut place = self.root();
        for name in path.split('/') {
            match self.child(&place, name)? {
                Some(child) => place = child,
                None => return Ok(None),
            }
        }
        Ok(Some(place))
    }

    /// Whether there is a directory at `path`.
    pub(crate) fn has_directory(&self, path: &str) -> Result<bool, MediumError> {
        let Some(place) = self.find(path)? else { return Ok(false) };
        Ok(matches!(self.stat(&place)?.kind, Kind::Directory(_)))
    }

    /// The content of the file at `path`, which may have `limit` bytes at most.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Result<Bytes, MediumError> {
        let place = self.find(path)?.ok_or(MediumError::Absent)?;
        let Kind::File(Content { size, .. }) = self.stat(&place)?.kind else {
            return Err(MediumError::Kind("regular file"));
        };
        if size > limit {
            return Err(MediumError::TooLarge(limit));
        }
        let mut bytes = Vec::new();
        self.content(&place, &mut Window::of(size), &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes.into())
    }

    /// What is at a place, without extended attributes.
    pub(crate) fn stat(&self, place: &Place) -> Result<Stat, MediumError> {
        match (self, place) {
            (Self::Image(fs), Place::Inode(number)) => stat_inode(fs, &fs.inode(*number)?),
            (Self::Mounted(mounted), Place::Path(path)) => mounted.stat(path),
            _ => Err(MediumError::Absent),
        }
    }

    pub(crate) fn xattrs(&self, place: &Place) -> Result<Xattrs, MediumError> {
        match (self, place) {
            (Self::Image(fs), Place::Inode(number)) => Ok(fs.xattrs(&fs.inode(*number)?)?),
            (Self::Mounted(mounted), Place::Path(path)) => Ok(mounted.xattrs(path)?),
            _ => Err(MediumError::Absent),
        }
    }

    /// The names in a directory.
    pub(crate) fn children(&self, place: &Place) -> Result<Vec<(Name, Place)>, MediumError> {
        match (self, place) {
            (Self::Image(fs), Place::Inode(number)) => {
                let entries = fs.entries(&fs.inode(*number)?)?.entries;
                Ok(entries.into_iter().map(|entry| (entry.name, Place::Inode(entry.inode))).collect())
            }
            (Self::Mounted(mounted), Place::Path(path)) => Ok(mounted.children(path)?),
            _ => Err(MediumError::Absent),
        }
    }

    /// Hands the content of a file to `sink`, piece by piece, as far as possible out of `window`.
    pub(crate) fn content(
        &self,
        place: &Place,
        window: &mut Window,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), MediumError> {
        match (self, place) {
            (Self::Image(fs), Place::Inode(number)) => Ok(fs.content(&fs.inode(*number)?, window, sink)?),
            (Self::Mounted(mounted), Place::Path(path)) => Ok(mounted.content(path, sink)?),
            _ => Err(MediumError::Absent),
        }
    }

    fn child(&self, place: &Place, name: &str) -> Result<Option<Place>, MediumError> {
        match (self, place) {
            (Self::Image(fs), Place::Inode(number)) => {
                let directory = fs.inode(*number)?;
                if directory.file_type != FileType::Directory {
                    return Ok(None);
                }
                Ok(fs.child(&directory, name.as_bytes())?.map(Place::Inode))
            }
            (Self::Mounted(mounted), Place::Path(path)) => Ok(mounted.child(path, name)?.map(Place::Path)),
            _ => Err(MediumError::Absent),
        }
    }
}

fn stat_inode(fs: &FileSystem, inode: &Inode) -> Result<Stat, MediumError> {
    let (major, minor) = inode.device();
    let kind = match inode.file_type {
        FileType::Regular => Kind::File(Content { size: inode.size, ..Content::default() }),
        FileType::Directory => Kind::Directory(Directory::default()),
        FileType::Symlink => Kind::Symlink(fs.target(inode)?.into()),
        FileType::CharacterDevice => Kind::CharacterDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => return Err(MediumError::Socket),
    };
    let Inode { mode, uid, gid, mtime, .. } = *inode;
    Ok(Stat {
        id: u64::from(inode.number),
        linked: inode.links > 1,
        order: inode.first_block(),
        occupied: inode.sectors * 512,
        kind,
        attributes: Attributes { mode, uid, gid, mtime, xattrs: None },
    })
}

/// A time as both media give it.
fn time(seconds: i64, nanoseconds: i64) -> Time {
    Time { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) }
}
