//! Letting go of disks: unmounted once no layer is linked to one, and forgotten once nothing reads it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use larder_core::Digest;

use super::{DetachError, DiskOutcome, DiskReport, plan, seen};
use crate::blocking::blocking;
use crate::node::Node;
use crate::overlay::OverlayRoot;
use crate::stage::{device_of, is_free, unstage};
use crate::state::{DiskRecord, StateDir};

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
    let mounted = device_of(&place).ok().flatten().filter(|_| place.exists());
    let device = record.as_ref().and_then(|record| record.device.clone()).or(mounted);
    unstage(&place)?;
    tracing::info!(place = %place.display(), "unmounted a cache disk");
    Ok(Ok(forget(state, record, device, patience)?))
}

fn forget(
    state: &StateDir,
    record: Option<DiskRecord>,
    device: Option<PathBuf>,
    patience: Duration,
) -> Result<DiskOutcome, DetachError> {
    let busy = match device {
        Some(device) if !becomes_free(&device, patience)? => Some(device),
        _ => None,
    };
    match (record, busy) {
        // Another image is still wanted from it, and comes back with a restart.
        (Some(record), _) if !record.images.is_empty() => Ok(DiskOutcome::Released),
        (Some(record), Some(device)) => {
            state.write_record(&DiskRecord { leaving: true, ..record })?;
            Ok(DiskOutcome::Busy { device })
        }
        (Some(record), None) => {
            state.remove_record(record.disk)?;
            Ok(DiskOutcome::Released)
        }
        (None, Some(device)) => Ok(DiskOutcome::Busy { device }),
        (None, None) => Ok(DiskOutcome::Released),
    }
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
