//! What a disk is to be on this node, kept across reboots: `records/<id>.json`, one file a disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use larder_core::Digest;
use serde::{Deserialize, Serialize};

use super::{StateDir, StateError, create_private};

/// A record has some hundred bytes and the names of images; more is not one of ours.
const MAX_RECORD: u64 = 16 << 20;

/// A disk, where it came from, and what was attached from it. The file's form: a field that goes or changes its meaning
/// makes earlier versions' disks stay away after a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DiskRecord {
    pub(crate) disk: Digest,
    /// Counts attaches of new disks: a layer that several disks have is linked to the latest of them.
    pub(crate) generation: u64,
    /// The block device that holds it, where there is one.
    pub(crate) device: Option<PathBuf>,
    /// The directory that was given, where it was one in the host's mount namespace.
    pub(crate) directory: Option<PathBuf>,
    /// The file system's UUID: devices change their names between boots.
    pub(crate) uuid: Option<String>,
    /// What its mount needs so that containers may read it.
    #[serde(default)]
    pub(crate) mount_options: Option<String>,
    /// The names of the images that are to be attached.
    pub(crate) images: BTreeSet<String>,
    /// Whether they are pinned.
    pub(crate) pin: bool,
    /// Whether it has been unmounted for good, and waits for containers that still read it.
    #[serde(default)]
    pub(crate) leaving: bool,
}

impl DiskRecord {
    /// Of a disk that has a place but no record.
    pub(crate) fn unknown(disk: Digest) -> Self {
        let images = BTreeSet::new();
        Self {
            disk,
            generation: 0,
            device: None,
            directory: None,
            uuid: None,
            mount_options: None,
            images,
            pin: true,
            leaving: false,
        }
    }
}

impl StateDir {
    /// Every record, the oldest generation first.
    pub(crate) fn records(&self) -> Result<Vec<DiskRecord>, StateError> {
        let directory = self.record_directory();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::Io { action: "list", path: directory, source }),
        };
        let mut records = Vec::new();
        for entry in entries {
            let failed = |source| StateError::Io { action: "list", path: directory.clone(), source };
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                records.push(read(&path)?);
            }
        }
        records.sort_by_key(|record| (record.generation, record.disk));
        Ok(records)
    }

    /// Writes a record in place of the disk's earlier one, as a whole or not at all.
    pub(crate) fn write_record(&self, record: &DiskRecord) -> Result<(), StateError> {
        let path = self.record_path(record.disk);
        let directory = self.record_directory();
        let failed = |source| StateError::Io { action: "write", path: path.clone(), source };
        create_private(&directory)?;
        let text = serde_json::to_vec_pretty(record).map_err(|error| failed(error.into()))?;
        let temporary = path.with_extension("new");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&directory)?.sync_all()
        };
        write().map_err(failed)
    }

    /// Removes a disk's record; one that is not there is fine.
    pub(crate) fn remove_record(&self, disk: Digest) -> Result<(), StateError> {
        let path = self.record_path(disk);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Io { action: "remove", path, source: error })
            }
            _ => Ok(()),
        }
    }

    fn record_directory(&self) -> PathBuf {
        self.0.join("records")
    }

    fn record_path(&self, disk: Digest) -> PathBuf {
        self.record_directory().join(format!("{}.json", disk.hex()))
    }
}

fn read(path: &Path) -> Result<DiskRecord, StateError> {
    let failed = |source| StateError::Io { action: "read", path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > MAX_RECORD {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "too large for a record")));
    }
    let text = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|source| StateError::Record { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(disk: &[u8], generation: u64) -> DiskRecord {
        DiskRecord {
            disk: Digest::of(disk),
            generation,
            device: Some("/dev/sdb".into()),
            directory: None,
            uuid: None,
            mount_options: Some("context=\"a:b:c\"".to_owned()),
            images: ["a:1".to_owned()].into(),
            pin: true,
            leaving: false,
        }
    }

    #[test]
    fn records_are_replaced_ordered_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        assert_eq!(state.records().unwrap(), []);
        let (old, mut new) = (record(b"old", 1), record(b"new", 2));
        for record in [&new, &old] {
            state.write_record(record).unwrap();
        }
        new.images.clear();
        state.write_record(&new).unwrap();
        assert_eq!(state.records().unwrap(), [old.clone(), new.clone()]);
        state.remove_record(old.disk).unwrap();
        state.remove_record(old.disk).unwrap();
        assert_eq!(state.records().unwrap(), [new]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        state.write_record(&record(b"x", 1)).unwrap();
        let path = state.record_path(Digest::of(b"x"));
        fs::write(&path, "{").unwrap();
        let error = state.records().unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
