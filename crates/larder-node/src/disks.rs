//! The disks that this node is to have: each at its place, or away and why.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::Digest;

use crate::generation::ReadyDisk;
use crate::stage::{DiskSource, Place, StageError, Staged, bring_back, look, read_source};
use crate::state::{DiskRecord, StateDir, StateError};

/// The disks of earlier runs.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    /// In the order of their generations.
    pub(crate) ready: Vec<(DiskRecord, Staged)>,
    /// Not to be found.
    pub(crate) away: BTreeMap<Digest, StageError>,
}

impl Disks {
    /// Puts every disk but `except` at its place again, if it can be found.
    pub(crate) fn gather(state: &StateDir, except: Option<Digest>) -> Result<Self, StateError> {
        let mut disks = Self::default();
        let records = state.records()?;
        let recorded: BTreeSet<_> = records.iter().map(|record| record.disk).collect();
        for disk in state.known_disks()?.into_iter().filter(|disk| !recorded.contains(disk)) {
            if Some(disk) == except {
                continue;
            }
            let record = DiskRecord::unknown(disk);
            match look(&state.place(disk), disk) {
                Ok(Place::Ready) => {
                    let staged = bring_back(state, &record);
                    disks.add(record, staged);
                }
                // A place without a record was one only while something is mounted there.
                Ok(Place::Empty | Place::Broken) => {}
                Err(error) => disks.add(record, Err(error)),
            }
        }
        for record in records {
            if record.leaving || Some(record.disk) == except {
                continue;
            }
            let staged = bring_back(state, &record);
            disks.add(record, staged);
        }
        Ok(disks)
    }

    /// The same without mounting anything.
    pub(crate) fn survey(state: &StateDir, except: Option<Digest>) -> Result<Self, StateError> {
        let mut disks = Self::default();
        for record in state.records()? {
            if record.leaving || Some(record.disk) == except {
                continue;
            }
            let place = state.place(record.disk);
            let source = DiskSource::Directory(place.clone());
            let seen = look(&place, record.disk).and_then(|seen| match seen {
                Place::Ready => {
                    Ok(Staged { disk: read_source(&source)?, place: place.clone(), fresh: false })
                }
                Place::Empty | Place::Broken => {
                    let tried = format!("{} is not mounted", place.display());
                    Err(StageError::Away { disk: record.disk, tried })
                }
            });
            disks.add(record, seen);
        }
        Ok(disks)
    }

    fn add(&mut self, record: DiskRecord, staged: Result<Staged, StageError>) {
        match staged {
            Ok(staged) => self.ready.push((record, staged)),
            Err(error) => _ = self.away.insert(record.disk, error),
        }
    }

    /// What layers may be read from.
    pub(crate) fn ready_disks(&self) -> Vec<ReadyDisk> {
        self.ready.iter().map(|(record, staged)| ready(record, staged)).collect()
    }
}

/// A disk that layers may be read from.
pub(crate) fn ready(record: &DiskRecord, staged: &Staged) -> ReadyDisk {
    ReadyDisk {
        disk: record.disk,
        place: staged.place.clone(),
        generation: record.generation,
        layers: staged.disk.layers.clone(),
    }
}
