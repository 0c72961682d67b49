//! Attach: the images of a cache disk become containerd's, without a byte of their layers copied.
//!
//! Each step leaves containerd consistent, and the image records come last: whoever sees an image finds all of it.

mod begun;
mod blobs;
mod check;
mod choose;
mod layers;
mod preview;
mod records;
mod report;
mod restore;
mod session;
mod settle;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use larder_core::{Digest, Image, ImageRef};

use crate::blocking::blocking;
use crate::containerd::{ContainerdError, NodeOptions};
use crate::detach::DetachError;
use crate::disks::{self, Disks};
use crate::generation::ReadyDisk;
use crate::heal::{self, HealError};
use crate::node::{Node, NodeError};
use crate::overlay::OverlayError;
use crate::stage::{DiskSource, StageError, Staged, read_source};
use crate::state::{StateDir, StateError};
use begun::Begun;
pub use choose::NotOnDisk;
pub use preview::preview_attach;
pub(crate) use records::record_name;
pub use report::{AttachImageError, AttachOutcome, AttachReport, AttachedImage};
pub use restore::{RemountedDisk, RestoreReport, RestoredDisk, remount, restore};
use session::Session;
pub use settle::SettleError;
pub(crate) use settle::{link_labels, settle};

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
    /// Layers cannot be led to the disk that they are to be read from.
    #[error("cannot lead earlier disks' layers to their disk")]
    Settle(#[from] SettleError),
    /// What a disk that is away has broken cannot be withdrawn.
    #[error("cannot withdraw what a vanished disk has broken")]
    Heal(#[from] HealError),
    /// The images are attached, but a disk that nothing needs any more stays.
    #[error("cannot let go of a disk that is not needed any more")]
    Release(#[source] Box<DetachError>),
}

/// How images are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// Keep the kubelet's garbage collection from removing them.
    pub pin: bool,
    /// Remove also what others built on layers of a disk that is away: their images, and containers that have ended.
    pub force_heal: bool,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self { pin: true, force_heal: false }
    }
}

/// Attaches `wanted`, or every image of the disk when that is empty. Each image has its own outcome; where no image could be
/// attached the node is left as it was. Layers that earlier disks have too are led to this one; what disks that are away have
/// broken is withdrawn.
pub async fn attach(
    options: &NodeOptions,
    source: &DiskSource,
    wanted: &[ImageRef],
    how: AttachOptions,
) -> Result<AttachReport, AttachError> {
    let node = Node::open(options).await?;
    node.warn_of_limits();
    let disk = {
        let source = source.clone();
        blocking(move || read_source(&source)).await?
    };
    let names = choose::choose(&disk.images, wanted)?.into_iter().map(|image| record_name(&image.reference));
    let names: BTreeSet<String> = names.collect();
    let state = StateDir::open(&options.state_dir)?;
    let _lock = state.lock().await?;
    let begun = {
        let (state, source, names) = (state.clone(), source.clone(), names.clone());
        let options = node.disk_options.clone();
        blocking(move || Begun::begin(&state, &source, options, disk, names, how.pin)).await?
    };
    let report = run(&node, &state, &begun, &names, how).await;
    let ended = begun.end(&node, &state, report.as_ref().ok()).await;
    match (report, ended) {
        (Ok(report), ended) => ended.map(|disks| AttachReport { disks, ..report }),
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(left)) => {
            tracing::warn!(error = &left as &dyn std::error::Error, "the disk is left mounted");
            Err(error)
        }
    }
}

async fn run(
    node: &Node,
    state: &StateDir,
    begun: &Begun,
    names: &BTreeSet<String>,
    how: AttachOptions,
) -> Result<AttachReport, AttachError> {
    let others = {
        let (state, disk) = (state.clone(), begun.staged.disk.id);
        blocking(move || Disks::gather(&state, Some(disk))).await?
    };
    node.containerd.drop_leases_of(&state.owner()).await?;
    let mut ready = others.ready_disks();
    ready.push(disks::ready(&begun.record, &begun.staged));
    let moved = settle(node, state, &ready).await?;
    let lost = heal::withdraw(node, state, &ids(&ready), others.away, how.force_heal).await?;
    let images = attach_staged(node, state, &begun.staged, names, how.pin).await?;
    let (disk, place) = (begun.staged.disk.id, begun.staged.place.clone());
    Ok(AttachReport { disk, place, images, moved, lost, disks: Vec::new() })
}

/// Attaches the images of these names from a disk at its place.
async fn attach_staged(
    node: &Node,
    state: &StateDir,
    staged: &Staged,
    names: &BTreeSet<String>,
    pin: bool,
) -> Result<Vec<AttachedImage>, AttachError> {
    let wanted = |image: &&Image| names.contains(&record_name(&image.reference));
    let images: Vec<&Image> = staged.disk.images.iter().filter(wanted).collect();
    // What keeps a disk from its release may be garbage by now.
    let waits = state.records()?.iter().any(|record| record.images.is_empty());
    let lease = node.containerd.create_lease(&state.owner(), SystemTime::now() + LEASE_LIFE).await?;
    let attached = match Session::open(node, &lease, state, staged, pin).await {
        Ok(mut session) => {
            let attached = Box::pin(session.attach(&images)).await;
            let untidy = session.repositories_to_tidy(&images);
            let clean = !waits && untidy.is_empty() && session.only_added(&attached);
            heal::drop_orphans(node, &untidy).await.map(|()| (attached, clean))
        }
        Err(error) => Err(error),
    };
    let clean = matches!(attached, Ok((_, true)));
    let lease = lease.id.as_str();
    let dropped = if clean {
        node.containerd.drop_clean_lease(lease).await
    } else {
        node.containerd.drop_lease(lease).await
    };
    let (images, _) = attached?;
    dropped?;
    Ok(images)
}

fn ids(ready: &[ReadyDisk]) -> BTreeSet<Digest> {
    ready.iter().map(|disk| disk.disk).collect()
}
