//! The output of a build: a file that appears whole under its name, or a block device that may be overwritten.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::signature::{PROBE, recognise};
use crate::ext4::Target;

/// Why an output cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file cannot be created, inspected or renamed.
    #[error("cannot {doing} {path}", path = .path.display())]
    Io {
        /// `create`, `inspect`, ...
        doing: &'static str,
        /// The output, or its directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither a file nor a block device.
    #[error("{path} is neither a regular file nor a block device", path = .path.display())]
    Kind {
        /// The output.
        path: PathBuf,
    },
    /// The device, or something that is built on it, is mounted.
    #[error("{path} is mounted at {at}: unmount it first", path = .path.display())]
    Mounted {
        /// The device.
        path: PathBuf,
        /// The mount point.
        at: String,
    },
    /// The device holds something.
    #[error("{path} holds {what}: use --force to overwrite it", path = .path.display())]
    InUse {
        /// The device.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

/// An output that a disk can be written to.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    /// What a file becomes in the end; none for a device.
    rename_to: Option<PathBuf>,
    target: Target,
}

impl Output {
    /// Checks `path`, without changing anything.
    pub(super) fn open(path: &Path, force: bool) -> Result<Self, OutputError> {
        let io = |doing| move |source| OutputError::Io { doing, path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_block_device() => {
                let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(io("read the mounts for"))?;
                if let Some(at) = mounted_at(&mounts, metadata.rdev()) {
                    return Err(OutputError::Mounted { path: path.to_owned(), at: at.to_owned() });
                }
                let (size, found) = inspect(path).map_err(io("inspect"))?;
                if let Some(what) = found.filter(|_| !force) {
                    return Err(OutputError::InUse { path: path.to_owned(), what });
                }
                Ok(Self { path: path.to_owned(), rename_to: None, target: Target::Device(size) })
            }
            Ok(metadata) if !metadata.is_file() => Err(OutputError::Kind { path: path.to_owned() }),
            Ok(_) => Ok(Self::file(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::file(path)),
            Err(error) => Err(io("inspect")(error)),
        }
    }

    /// A file is written under a hidden name beside its place, and belongs to this process alone.
    fn file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        Self { path: temporary, rename_to: Some(path.to_owned()), target: Target::File }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    /// Gives a finished file its name.
    pub(super) fn commit(mut self) -> Result<(), OutputError> {
        let Some(path) = self.rename_to.take() else { return Ok(()) };
        let renamed = fs::rename(&self.path, &path).and_then(|()| {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        });
        renamed.map_err(|source| {
            self.rename_to = Some(path.clone());
            OutputError::Io { doing: "rename the finished disk to", path, source }
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // A file that was not committed; that it was never created is no fault.
        if self.rename_to.is_some() {
            let _absent = fs::remove_file(&self.path);
        }
    }
}

/// The device's size, and what it holds.
fn inspect(path: &Path) -> io::Result<(u64, Option<&'static str>)> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(PROBE as u64).read_to_end(&mut start)?;
    let size = file.seek(SeekFrom::End(0))?;
    Ok((size, recognise(&start)))
}

/// Where the device is mounted, from `/proc/self/mountinfo` (proc(5)).
fn mounted_at(mounts: &str, device: u64) -> Option<&str> {
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next() == Some(number.as_str())).then(|| fields.nth(1)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device_number() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 7:3 / /mnt/disk ro - ext4 /dev/loop3 ro\n";
        assert_eq!(mounted_at(mounts, rustix::fs::makedev(7, 3)), Some("/mnt/disk"));
        assert_eq!(mounted_at(mounts, rustix::fs::makedev(7, 4)), None);
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.img");
        for commit in [false, true] {
            let output = Output::open(&path, false).unwrap();
            fs::write(output.path(), "disk").unwrap();
            if commit {
                output.commit().unwrap();
            } else {
                drop(output);
            }
            let left: Vec<_> =
                fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left.len(), usize::from(commit), "{left:?}");
        }
        assert!(matches!(Output::open(directory.path(), false), Err(OutputError::Kind { .. })));
    }
}
