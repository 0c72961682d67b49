//! Which disk: by where it is, or by its id.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use larder_core::Digest;

use super::device::{device_of, find_by_uuid, uuid_of};
use super::{DiskTree, INDEX, Place, StageError, Staged, abandon, failed, look, read_source, stage};
use crate::causes::with_causes;
use crate::state::{DiskRecord, StateDir, StateError};

/// Where a cache disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// Mounted already, or a copy of its files.
    Directory(PathBuf),
    /// A block device with the disk's file system on all of it.
    Device(PathBuf),
    /// A mount taken along from another mount namespace.
    Tree(DiskTree),
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

    /// Where its files are read.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Directory(path) | Self::Device(path) => path.clone(),
            Self::Tree(tree) => tree.path(),
        }
    }

    /// What it was called when it was given.
    pub(super) fn name(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Device(path) => path,
            Self::Tree(tree) => tree.name(),
        }
    }

    /// Of which a record says how it is found again.
    pub(crate) fn traces(&self) -> Result<Traces, StageError> {
        let device = match self {
            Self::Device(device) => Some(device.clone()),
            Self::Directory(_) | Self::Tree(_) => {
                device_of(&self.path()).map_err(failed("read", self.name()))?
            }
        };
        let uuid = match device.as_ref().map(|device| (device, uuid_of(device))) {
            None => None,
            // A pod need not see the node's devices.
            Some((_, Err(error))) if error.kind() == io::ErrorKind::NotFound => None,
            Some((device, uuid)) => uuid.map_err(failed("read", device))?,
        };
        let directory = match self {
            Self::Directory(directory) => Some(directory.clone()),
            Self::Device(_) | Self::Tree(_) => None,
        };
        Ok(Traces { device, directory, uuid })
    }
}

/// How a disk is found again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    pub(crate) device: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) uuid: Option<String>,
}

/// Puts a disk of an earlier run at its place again: from where it was, else from whatever device has its file system.
pub(crate) fn bring_back(state: &StateDir, record: &DiskRecord) -> Result<Staged, StageError> {
    let place = state.place(record.disk);
    match look(&place, record.disk)? {
        Place::Ready => {
            let source = DiskSource::Directory(place);
            let disk = read_source(&source)?;
            return stage(state, &source, None, disk);
        }
        // What is left of it in the page cache must not look like a disk.
        Place::Broken => abandon(&place)?,
        Place::Empty => {}
    }
    let mut tried = Vec::new();
    for path in candidates(record)? {
        let found = DiskSource::at(&path).and_then(|source| Ok((read_source(&source)?, source)));
        match found {
            Ok((disk, source)) if disk.id == record.disk => {
                return stage(state, &source, record.mount_options.as_deref(), disk);
            }
            Ok((disk, _)) => tried.push(format!("{} holds disk {}", path.display(), disk.id)),
            Err(error) => tried.push(with_causes(&error)),
        }
    }
    if tried.is_empty() {
        tried.push("no device has its file system".to_owned());
    }
    Err(StageError::Away { disk: record.disk, tried: tried.join("; ") })
}

fn candidates(record: &DiskRecord) -> Result<Vec<PathBuf>, StageError> {
    let mut paths: Vec<_> = record.directory.iter().chain(&record.device).cloned().collect();
    if let Some(uuid) = &record.uuid {
        let devices = Path::new("/sys/class/block");
        paths.extend(find_by_uuid(uuid).map_err(failed("list", devices))?);
    }
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    Ok(paths)
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
            Self::At(source @ (DiskSource::Directory(_) | DiskSource::Tree(_))) => {
                let path = source.path().join(INDEX);
                Ok(Some(Digest::of(&fs::read(&path).map_err(failed("read", &path))?)))
            }
            Self::At(DiskSource::Device(device)) => {
                let number = fs::metadata(device).map_err(failed("read", device))?.rdev();
                let holds =
                    |disk: &Digest| fs::metadata(state.place(*disk)).is_ok_and(|place| place.dev() == number);
                let mounted = state.known_disks()?.into_iter().find(holds);
                let recorded = |record: &DiskRecord| record.device.as_ref() == Some(device);
                let attached = || Ok(state.records()?.into_iter().find(recorded).map(|record| record.disk));
                mounted.map_or_else(attached, |disk| Ok(Some(disk)))
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
