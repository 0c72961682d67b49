//! The disk that is being attached, from its record and its mount to what is left of both at the end.

use std::collections::BTreeSet;

use larder_disk::CacheDisk;

use super::{AttachError, AttachReport, record_name};
use crate::blocking::blocking;
use crate::detach::{DiskReport, release_idle};
use crate::node::Node;
use crate::stage::{DiskSource, Staged, stage, unstage};
use crate::state::{DiskRecord, StateDir, StateError};

/// A disk at its place, with a record by which a restart finds it again.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) staged: Staged,
    pub(super) record: DiskRecord,
    /// What an earlier run wrote.
    earlier: Option<DiskRecord>,
}

impl Begun {
    /// Writes the record first: a mount that no record tells of would be lost with a restart.
    pub(super) fn begin(
        state: &StateDir,
        source: &DiskSource,
        mount_options: Option<String>,
        disk: CacheDisk,
        names: BTreeSet<String>,
        pin: bool,
    ) -> Result<Self, AttachError> {
        let records = state.records()?;
        let latest = records.iter().map(|record| record.generation).max().unwrap_or_default();
        let earlier = records.into_iter().find(|record| record.disk == disk.id);
        let traces = source.traces()?;
        let known = earlier.as_ref().filter(|record| !record.leaving);
        let record = DiskRecord {
            disk: disk.id,
            generation: known.map_or(latest + 1, |record| record.generation),
            device: traces.device,
            directory: traces.directory,
            uuid: traces.uuid,
            mount_options,
            images: names
                .into_iter()
                .chain(known.into_iter().flat_map(|record| record.images.clone()))
                .collect(),
            pin,
            leaving: false,
        };
        state.write_record(&record)?;
        match stage(state, source, record.mount_options.as_deref(), disk) {
            Ok(staged) => Ok(Self { staged, record, earlier }),
            Err(error) => {
                put_back(state, &record, earlier.as_ref())?;
                Err(error.into())
            }
        }
    }

    /// Records what was attached, and lets go of disks that nothing is linked to any more: of this one only if this run
    /// mounted it.
    pub(super) async fn end(
        self,
        node: &Node,
        state: &StateDir,
        report: Option<&AttachReport>,
    ) -> Result<Vec<DiskReport>, AttachError> {
        let Self { staged, record, earlier } = self;
        let (overlay, place, fresh) = (node.overlay.clone(), staged.place, staged.fresh);
        let unused = blocking(move || {
            let unused = fresh && overlay.count_links_below(&place)? == 0;
            if unused {
                unstage(&place)?;
            }
            Ok::<_, AttachError>(unused)
        });
        if unused.await? {
            put_back(state, &record, earlier.as_ref())?;
            return Ok(Vec::new());
        }
        let Some(report) = report else { return Ok(Vec::new()) };
        let attached = report.images.iter().filter(|image| image.result.is_ok());
        let attached: BTreeSet<_> = attached.map(|image| record_name(&image.image)).collect();
        let known = earlier.into_iter().filter(|record| !record.leaving).flat_map(|record| record.images);
        let images: BTreeSet<_> = known.chain(attached.iter().cloned()).collect();
        if images != record.images {
            state.write_record(&DiskRecord { images, ..record.clone() })?;
        }
        take_names(state, &record, &attached)?;
        release_idle(node, state).await.map_err(|error| AttachError::Release(error.into()))
    }
}

fn put_back(state: &StateDir, record: &DiskRecord, earlier: Option<&DiskRecord>) -> Result<(), StateError> {
    earlier.map_or_else(|| state.remove_record(record.disk), |earlier| state.write_record(earlier))
}

/// A name is attached from one disk.
fn take_names(state: &StateDir, from: &DiskRecord, names: &BTreeSet<String>) -> Result<(), StateError> {
    for mut record in state.records()? {
        let before = record.images.len();
        if record.disk != from.disk {
            record.images.retain(|name| !names.contains(name));
        }
        if record.images.len() != before {
            state.write_record(&record)?;
        }
    }
    Ok(())
}
