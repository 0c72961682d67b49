//! Detach: what attach put on the node goes again, unless something there uses it.

mod chains;
pub(crate) mod plan;
mod release;
mod report;
pub(crate) mod seen;
mod shared;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use larder_core::ImageRef;

use crate::attach::{SettleError, record_name, settle};
use crate::blocking::blocking;
use crate::containerd::{Containerd, ContainerdError, NodeOptions};
use crate::disks::Disks;
use crate::labels;
use crate::node::{Node, NodeError};
use crate::overlay::OverlayError;
use crate::stage::{DiskSelector, SelectError, StageError};
use crate::state::{StateDir, StateError};
use plan::{Plan, Release, Selection};
use release::release_disks;
pub(crate) use release::release_idle;
pub use report::{
    DetachImageError, DetachOutcome, DetachReport, DetachedImage, DiskOutcome, DiskReport, Use,
};

/// The lease that is taken only to be dropped lives a moment; this is for a run that dies between the two.
const LEASE_LIFE: Duration = Duration::from_mins(1);

/// Why nothing was detached.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The runtime is not one that Larder serves, or does not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The disk that was named cannot be told.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// containerd failed at what is needed for every image.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// A disk cannot be unmounted.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The snapshotter's directories cannot be read.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// Layers cannot be led to the disks that stay.
    #[error("cannot lead layers to the disks that stay")]
    Settle(#[from] SettleError),
}

/// How images are detached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetachOptions {
    /// Copy layers that other people's images stand on from the disk, so that theirs need it no longer.
    pub keep_shared: bool,
}

/// Detaches what attach attached: the images that are named, or all, of the disk that is named, or of every one. An image that
/// something uses is left untouched. A disk that no layer is linked to any more is unmounted.
pub async fn detach(
    options: &NodeOptions,
    disk: Option<&DiskSelector>,
    images: &[ImageRef],
    how: DetachOptions,
) -> Result<DetachReport, DetachError> {
    let node = Node::open(options).await?;
    let state = StateDir::open(&options.state_dir)?;
    let _lock = state.lock().await?;
    let Some(selection) = select(&state, disk, images).await? else { return Ok(DetachReport::default()) };
    // What nobody holds any more, such as after a run that was killed, is neither in use nor in the way.
    node.containerd.drop_leases_of(&state.owner()).await?;
    collect_garbage(&node.containerd, &state).await?;
    settle_without(&node, &state, &selection).await?;
    let copied = if how.keep_shared { shared::copy(&node, &state, &selection).await? } else { 0 };
    let images = detach_images(&node.containerd, &state, &selection).await?;
    forget(&state, &selection, &images)?;
    let disks = release_disks(&node, &state, selection.disk).await?;
    Ok(DetachReport { images, disks, copied, all: selection.names.is_empty() })
}

/// Says what `detach` would do with the same arguments; changes nothing.
pub async fn preview_detach(
    options: &NodeOptions,
    disk: Option<&DiskSelector>,
    images: &[ImageRef],
    how: DetachOptions,
) -> Result<DetachReport, DetachError> {
    let node = Node::open(options).await?;
    let state = StateDir::at(&options.state_dir);
    let Some(selection) = select(&state, disk, images).await? else { return Ok(DetachReport::default()) };
    let mut seen = seen::look(&node.containerd).await?;
    let shared = if how.keep_shared { plan::shared(&seen, &selection) } else { BTreeSet::new() };
    for snapshot in &mut seen.snapshots {
        if shared.contains(&snapshot.name) {
            snapshot.labels.remove(labels::DISK);
        }
    }
    let Plan { releases, in_use, not_attached } = plan::plan(&seen, &selection);
    let released = releases.into_iter().map(|release| {
        let layers = release.layers.len();
        (release.name, Ok(DetachOutcome::Detached { layers }))
    });
    let images = outcomes(released.collect(), in_use, not_attached);
    Ok(DetachReport { images, disks: Vec::new(), copied: shared.len(), all: selection.names.is_empty() })
}

/// None where the device that was named is not attached.
async fn select(
    state: &StateDir,
    disk: Option<&DiskSelector>,
    images: &[ImageRef],
) -> Result<Option<Selection>, DetachError> {
    let names = images.iter().map(record_name).collect();
    let Some(selector) = disk.cloned() else { return Ok(Some(Selection { disk: None, names })) };
    let state = state.clone();
    let disk = blocking(move || selector.resolve(&state)).await?;
    Ok(disk.map(|disk| Selection { disk: Some(disk), names }))
}

/// What other disks have is led to them where a whole disk is to go.
async fn settle_without(node: &Node, state: &StateDir, selection: &Selection) -> Result<(), DetachError> {
    let except = selection.disk.filter(|_| selection.names.is_empty());
    let disks = {
        let state = state.clone();
        blocking(move || Disks::survey(&state, except)).await?
    };
    settle(node, state, &disks.ready_disks()).await?;
    Ok(())
}

/// What is detached does not come back with a restart.
fn forget(state: &StateDir, selection: &Selection, images: &[DetachedImage]) -> Result<(), StateError> {
    let stays = |image: &DetachedImage| matches!(image.result, Err(DetachImageError::InUse { .. }));
    let staying: BTreeSet<_> = images.iter().filter(|image| stays(image)).map(|image| &image.name).collect();
    for mut record in state.records()? {
        let asked = selection.disk.is_none_or(|disk| disk == record.disk);
        let before = record.images.len();
        if asked {
            record.images.retain(|name| {
                let named = selection.names.is_empty() || selection.names.contains(name);
                !named || staying.contains(name)
            });
        }
        if record.images.len() != before {
            state.write_record(&record)?;
        }
    }
    Ok(())
}

async fn detach_images(
    containerd: &Containerd,
    state: &StateDir,
    selection: &Selection,
) -> Result<Vec<DetachedImage>, DetachError> {
    let seen = seen::look(containerd).await?;
    let Plan { releases, in_use, not_attached } = plan::plan(&seen, selection);
    let released = release(containerd, state, releases).await?;
    Ok(outcomes(released, in_use, not_attached))
}

fn outcomes(
    mut images: Vec<(String, Result<DetachOutcome, DetachImageError>)>,
    in_use: Vec<(String, Vec<Use>)>,
    not_attached: Vec<String>,
) -> Vec<DetachedImage> {
    let refused = in_use.into_iter().map(|(name, by)| (name, Err(DetachImageError::InUse { by })));
    let absent = not_attached.into_iter().map(|name| (name, Ok(DetachOutcome::NotAttached)));
    images.extend(refused.chain(absent));
    images.sort_by(|a, b| a.0.cmp(&b.0));
    images.into_iter().map(|(name, result)| DetachedImage { name, result }).collect()
}

/// Deletes the records, lets containerd collect what they held, and looks whether that is gone.
async fn release(
    containerd: &Containerd,
    state: &StateDir,
    releases: Vec<Release>,
) -> Result<Vec<(String, Result<DetachOutcome, DetachImageError>)>, ContainerdError> {
    if releases.is_empty() {
        return Ok(Vec::new());
    }
    let mut deleted = Vec::with_capacity(releases.len());
    for release in &releases {
        deleted.push(delete_records(containerd, release).await);
    }
    collect_garbage(containerd, state).await?;
    let snapshots = containerd.list_snapshots().await?;
    let left: BTreeSet<_> = snapshots.into_iter().map(|snapshot| snapshot.name).collect();
    let outcome = |(release, deleted): (Release, Result<(), ContainerdError>)| {
        let result = deleted.map_err(DetachImageError::from).and_then(|()| gone(&release, &left));
        (release.name, result)
    };
    Ok(releases.into_iter().zip(deleted).map(outcome).collect())
}

async fn delete_records(containerd: &Containerd, release: &Release) -> Result<(), ContainerdError> {
    for record in &release.records {
        containerd.delete_image(record).await?;
    }
    tracing::info!(image = release.name, "detached an image");
    Ok(())
}

fn gone(release: &Release, left: &BTreeSet<String>) -> Result<DetachOutcome, DetachImageError> {
    let layers: Vec<String> = release.layers.intersection(left).cloned().collect();
    if layers.is_empty() {
        return Ok(DetachOutcome::Detached { layers: release.layers.len() });
    }
    Err(DetachImageError::StillThere { layers })
}

/// Makes containerd remove at once what nothing holds: to drop a lease is the one way to ask for it.
pub(crate) async fn collect_garbage(
    containerd: &Containerd,
    state: &StateDir,
) -> Result<(), ContainerdError> {
    let lease = containerd.create_lease(&state.owner(), SystemTime::now() + LEASE_LIFE).await?;
    containerd.drop_lease(&lease.id).await
}
