//! Detach: what attach put on the node goes again, unless something there uses it.

mod chains;
mod plan;
mod report;
pub(crate) mod seen;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use larder_core::{Digest, ImageRef};

use crate::attach::record_name;
use crate::blocking::blocking;
use crate::containerd::{Containerd, ContainerdError, NodeOptions};
use crate::node::{Node, NodeError};
use crate::overlay::{OverlayError, OverlayRoot};
use crate::stage::{DiskSelector, SelectError, StageError, unstage};
use crate::state::{StateDir, StateError};
use plan::{Plan, Release, Selection};
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
}

/// Detaches what attach attached: the images that are named, or all, of the disk that is named, or of every one. An image that
/// something uses is left untouched. A disk that no layer is linked to any more is unmounted.
pub async fn detach(
    options: &NodeOptions,
    disk: Option<&DiskSelector>,
    images: &[ImageRef],
) -> Result<DetachReport, DetachError> {
    let node = Node::open(options).await?;
    let state = StateDir::open(&options.state_dir)?;
    let _lock = state.lock().await?;
    let disk = match disk.cloned() {
        None => None,
        Some(selector) => {
            let state = state.clone();
            match blocking(move || selector.resolve(&state)).await? {
                Some(disk) => Some(disk),
                None => return Ok(DetachReport::default()),
            }
        }
    };
    let selection = Selection { disk, names: images.iter().map(record_name).collect() };
    // What nobody holds any more, such as after a run that was killed, is neither in use nor in the way.
    node.containerd.drop_leases_of(&state.owner()).await?;
    collect_garbage(&node.containerd, &state).await?;
    let images = detach_images(&node.containerd, &state, &selection).await?;
    let disks = release_disks(&node, &state, selection.disk).await?;
    Ok(DetachReport { images, disks, all: selection.names.is_empty() })
}

async fn detach_images(
    containerd: &Containerd,
    state: &StateDir,
    selection: &Selection,
) -> Result<Vec<DetachedImage>, DetachError> {
    let seen = seen::look(containerd).await?;
    let Plan { releases, in_use, not_attached } = plan::plan(&seen, selection);
    let mut images = release(containerd, state, releases).await?;
    let refused = in_use.into_iter().map(|(name, by)| (name, Err(DetachImageError::InUse { by })));
    let absent = not_attached.into_iter().map(|name| (name, Ok(DetachOutcome::NotAttached)));
    images.extend(refused.chain(absent).map(|(name, result)| DetachedImage { name, result }));
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// Deletes the records, lets containerd collect what they held, and looks whether that is gone.
async fn release(
    containerd: &Containerd,
    state: &StateDir,
    releases: Vec<Release>,
) -> Result<Vec<DetachedImage>, ContainerdError> {
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
        DetachedImage { name: release.name, result }
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
async fn collect_garbage(containerd: &Containerd, state: &StateDir) -> Result<(), ContainerdError> {
    let lease = containerd.create_lease(&state.owner(), SystemTime::now() + LEASE_LIFE).await?;
    containerd.drop_lease(&lease.id).await
}

/// Unmounts the disks that no layer is linked to, and says what holds the others.
async fn release_disks(
    node: &Node,
    state: &StateDir,
    only: Option<Digest>,
) -> Result<Vec<DiskReport>, DetachError> {
    let mut disks = state.known_disks()?;
    disks.retain(|disk| only.is_none_or(|only| only == *disk));
    let mut reports = Vec::with_capacity(disks.len());
    for disk in disks {
        let outcome = match release_disk(&node.overlay, state.place(disk)).await? {
            0 => DiskOutcome::Released,
            layers => {
                let by = plan::holders(&seen::look(&node.containerd).await?, disk);
                DiskOutcome::Kept { layers, by }
            }
        };
        reports.push(DiskReport { disk, outcome });
    }
    Ok(reports)
}

/// Unmounts a disk unless layers are linked to it; returns how many are.
async fn release_disk(overlay: &OverlayRoot, place: PathBuf) -> Result<usize, DetachError> {
    let overlay = overlay.clone();
    blocking(move || {
        let layers = overlay.count_links_below(&place)?;
        if layers == 0 {
            unstage(&place)?;
            tracing::info!(place = %place.display(), "unmounted a cache disk");
        }
        Ok(layers)
    })
    .await
}
