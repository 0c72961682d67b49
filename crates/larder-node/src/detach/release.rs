//! Letting go of disks: unmounted once no layer is linked to one, and forgotten once nothing reads it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use larder_core::Digest;

use super::{DetachError, DiskOutcome, DiskReport, plan, seen};
use crate::blocking::blocking;
use crate::node::Node;
use crate::overlay::OverlayRoot;
use crate::stage::{device_at, is_free, unstage};
use crate::state::{DiskRecord, StateDir, StateError};

/// The kernel takes down the mounts of a container that has ended a moment after it has; a detach waits for that.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// Unmounts the disks that no layer is linked to, and says what holds the others.
pub(super) async fn release_disks(
    node: &Node,
    state: &StateDir,
    only: Option<Digest>,
) -> Result<Vec<DiskReport>, DetachError> {
    let mut disks = state.known_disks()?;
    disks.retain(|disk| only.is_none_or(|only| only == *disk));
    let mut reports = Vec::with_capacity(disks.len());
    for disk in disks {
        let outcome = match release(node, state, disk, PATIENCE).await? {
            Ok(outcome) => outcome,
            Err(layers) => {
                let by = plan::holders(&seen::look(&node.containerd).await?, disk);
                DiskOutcome::Kept { layers, by }
            }
        };
        reports.push(DiskReport { disk, outcome });
    }
    Ok(reports)
}

/// The same for disks that no image is wanted from, after their layers went to another disk; those in use are not told of.
pub(crate) async fn release_idle(node: &Node, state: &StateDir) -> Result<Vec<DiskReport>, DetachError> {
    let idle = state.records()?.into_iter().filter(|record| record.images.is_empty());
    let mut reports = Vec::new();
    for disk in idle.map(|record| record.disk) {
        if let Ok(outcome) = release(node, state, disk, Duration::ZERO).await? {
            reports.push(DiskReport { disk, outcome });
        }
    }
    Ok(reports)
}

/// Unmounts a disk unless layers are linked to it, which are counted then.
async fn release(
    node: &Node,
    state: &StateDir,
    disk: Digest,
    patience: Duration,
) -> Result<Result<DiskOutcome, usize>, DetachError> {
    let (overlay, state) = (node.overlay.clone(), state.clone());
    blocking(move || release_blocking(&overlay, &state, disk, patience)).await
}

fn release_blocking(
    overlay: &OverlayRoot,
    state: &StateDir,
    disk: Digest,
    patience: Duration,
) -> Result<Result<DiskOutcome, usize>, DetachError> {
    let place = state.place(disk);
    let layers = overlay.count_links_below(&place)?;
    if layers > 0 {
        return Ok(Err(layers));
    }
    let record = state.records()?.into_iter().find(|record| record.disk == disk);
    let device = match record.as_ref().and_then(|record| record.device.clone()) {
        Some(device) => Some(device),
        None => device_at(&place)?,
    };
    unstage(&place)?;
    tracing::info!(place = %place.display(), "unmounted a cache disk");
    let busy = match device {
        Some(device) if !becomes_free(&device, patience)? => Some(device),
        _ => None,
    };
    Ok(Ok(forget(state, record, busy)?))
}

/// What is left of a disk that was unmounted, whose device may be `busy` below containers.
fn forget(
    state: &StateDir,
    record: Option<DiskRecord>,
    busy: Option<PathBuf>,
) -> Result<DiskOutcome, StateError> {
    // One that an image is still wanted from comes back with a restart, as it is.
    match record.filter(|record| record.images.is_empty()) {
        Some(record) if busy.is_some() => state.write_record(&DiskRecord { leaving: true, ..record })?,
        Some(record) => state.remove_record(record.disk)?,
        None => {}
    }
    Ok(busy.map_or(DiskOutcome::Released, |device| DiskOutcome::Busy { device }))
}

fn becomes_free(device: &Path, patience: Duration) -> Result<bool, DetachError> {
    let deadline = Instant::now() + patience;
    while !is_free(device)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_read_is_told_and_a_record_that_is_wanted_stays() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let device = || PathBuf::from("/dev/sdb");
        let busy = || DiskOutcome::Busy { device: device() };
        let idle = DiskRecord::unknown(Digest::of(b"disk"));
        let wanted = DiskRecord { images: ["a:1".to_owned()].into(), ..idle.clone() };
        let leaving = DiskRecord { leaving: true, ..idle.clone() };
        let table = [
            (Some(&wanted), Some(device()), busy(), Some(&wanted)),
            (Some(&wanted), None, DiskOutcome::Released, Some(&wanted)),
            (Some(&idle), Some(device()), busy(), Some(&leaving)),
            (Some(&idle), None, DiskOutcome::Released, None),
            (None, Some(device()), busy(), None),
            (None, None, DiskOutcome::Released, None),
        ];
        for (record, busy, outcome, left) in table {
            if let Some(record) = record {
                state.write_record(record).unwrap();
            }
            assert_eq!(forget(&state, record.cloned(), busy).unwrap(), outcome);
            assert_eq!(state.records().unwrap(), left.cloned().into_iter().collect::<Vec<_>>());
            state.remove_record(idle.disk).unwrap();
        }
    }
}
