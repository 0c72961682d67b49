//! Which disk: by where it is, or by its id.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use larder_core::Digest;

use super::{StageError, failed};
use crate::state::{StateDir, StateError};

/// Where a cache disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// Mounted already, or a copy of its files.
    Directory(PathBuf),
    /// A block device with the disk's file system on all of it.
    Device(PathBuf),
}

impl DiskSource {
    /// What is at `path`: a directory or a block device.
    pub fn at(path: &Path) -> Result<Self, StageError> {
        let kind = fs::metadata(path).map_err(failed("read", path))?.file_type();
        let path = path.to_owned();
        match kind {
            kind if kind.is_dir() => Ok(Self::Directory(path)),
            kind if kind.is_block_device() => Ok(Self::Device(path)),
            kind if kind.is_file() => Err(StageError::File(path)),
            _ => Err(StageError::Kind(path)),
        }
    }
}

/// A disk to detach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSelector {
    /// The digest of its `index.json`.
    Id(Digest),
    /// Where it was attached from.
    At(DiskSource),
}

impl DiskSelector {
    /// An id, with or without `sha256:`, or else a path.
    pub fn parse(text: &str) -> Result<Self, StageError> {
        let id = text.parse().or_else(|_| format!("sha256:{text}").parse());
        id.map(Self::Id).or_else(|_| DiskSource::at(Path::new(text)).map(Self::At))
    }

    /// The disk's id; none for a device that is not attached.
    pub(crate) fn resolve(&self, state: &StateDir) -> Result<Option<Digest>, SelectError> {
        match self {
            Self::Id(id) => Ok(Some(*id)),
            Self::At(DiskSource::Directory(directory)) => {
                let path = directory.join("index.json");
                Ok(Some(Digest::of(&fs::read(&path).map_err(failed("read", &path))?)))
            }
            Self::At(DiskSource::Device(device)) => {
                let number = fs::metadata(device).map_err(failed("read", device))?.rdev();
                let holds =
                    |disk: &Digest| fs::metadata(state.place(*disk)).is_ok_and(|place| place.dev() == number);
                Ok(state.known_disks()?.into_iter().find(holds))
            }
        }
    }
}

/// Why a disk cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// Its path cannot be read.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The places of the attached disks cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_by_what_is_at_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disk.img");
        fs::write(&file, "").unwrap();
        assert_eq!(
            DiskSource::at(directory.path()).unwrap(),
            DiskSource::Directory(directory.path().to_owned())
        );
        let error = DiskSource::at(&file).unwrap_err().to_string();
        assert!(error.contains("losetup --find --show --read-only"), "{error}");
        assert!(matches!(DiskSource::at(Path::new("/dev/null")), Err(StageError::Kind(_))));
        assert!(matches!(DiskSource::at(Path::new("/nowhere")), Err(StageError::Io { .. })));
    }

    #[test]
    fn an_id_is_accepted_with_and_without_its_algorithm() {
        let id = Digest::of(b"disk");
        assert_eq!(DiskSelector::parse(&id.to_string()).unwrap(), DiskSelector::Id(id));
        assert_eq!(DiskSelector::parse(&id.hex()).unwrap(), DiskSelector::Id(id));
        assert!(DiskSelector::parse("0123").is_err());
    }
}
