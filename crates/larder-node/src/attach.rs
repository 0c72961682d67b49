//! Attach: the images of a cache disk become containerd's, without a byte of their layers copied.
//!
//! Each step leaves containerd consistent, and the image records come last: whoever sees an image finds all of it.

mod blobs;
mod check;
mod choose;
mod layers;
mod records;
mod report;
mod session;

use std::path::Path;
use std::time::{Duration, SystemTime};

use larder_core::ImageRef;

use crate::blocking::blocking;
use crate::containerd::{ContainerdError, NodeOptions};
use crate::node::{Node, NodeError};
use crate::overlay::OverlayError;
use crate::stage::{DiskSource, StageError, Staged, stage, unstage};
use crate::state::{StateDir, StateError};
pub use choose::NotOnDisk;
pub(crate) use records::record_name;
pub use report::{AttachImageError, AttachOutcome, AttachReport, AttachedImage};
use session::Session;

/// How long containerd keeps what an attach that was killed has begun; far longer than any attach takes.
const LEASE_LIFE: Duration = Duration::from_hours(1);

/// Why nothing was attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The runtime is not one that Larder serves, or does not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The disk cannot be put at its place.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// An image that was asked for is not on the disk.
    #[error(transparent)]
    NotOnDisk(#[from] NotOnDisk),
    /// containerd failed at what is needed for every image.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// Its directories cannot be read.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

/// Attaches `wanted`, or every image of the disk when that is empty. Each image has its own outcome; where no image could be
/// attached the node is left as it was.
pub async fn attach(
    options: &NodeOptions,
    source: &DiskSource,
    wanted: &[ImageRef],
) -> Result<AttachReport, AttachError> {
    let node = Node::open(options).await?;
    node.warn_of_limits();
    let state = StateDir::open(&options.state_dir)?;
    let _lock = state.lock().await?;
    let staged = {
        let (state, source, options) = (state.clone(), source.clone(), node.disk_options.clone());
        blocking(move || stage(&state, &source, options.as_deref())).await?
    };
    let report = attach_staged(&node, &state, &staged, wanted).await;
    let released = if staged.fresh { release_unused(&node, &staged.place).await } else { Ok(()) };
    match (report, released) {
        (Ok(report), released) => released.map(|()| report),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(left)) => {
            tracing::warn!(error = &left as &dyn std::error::Error, "the disk is left mounted");
            Err(error)
        }
    }
}

async fn attach_staged(
    node: &Node,
    state: &StateDir,
    staged: &Staged,
    wanted: &[ImageRef],
) -> Result<AttachReport, AttachError> {
    let images = choose::choose(&staged.disk.images, wanted)?;
    let owner = state.owner();
    node.containerd.drop_leases_of(&owner).await?;
    let lease = node.containerd.create_lease(&owner, SystemTime::now() + LEASE_LIFE).await?;
    let attached = match Session::open(node, &lease, state, staged).await {
        Ok(mut session) => Ok(session.attach(&images).await),
        Err(error) => Err(error),
    };
    let dropped = node.containerd.drop_lease(&lease.id).await;
    let images = attached?;
    dropped?;
    Ok(AttachReport { disk: staged.disk.id, place: staged.place.clone(), images })
}

/// A disk that this run mounted, and that nothing came to use, goes again.
async fn release_unused(node: &Node, place: &Path) -> Result<(), AttachError> {
    let (overlay, place) = (node.overlay.clone(), place.to_owned());
    blocking(move || {
        if overlay.count_links_below(&place)? == 0 {
            unstage(&place)?;
        }
        Ok(())
    })
    .await
}
