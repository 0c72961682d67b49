//! Linking layers: prepare an empty snapshot, put a link in its place, commit it under the chain ID. Images may be linked at
//! the same time; a layer of several is linked once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use larder_core::{ChainId, Digest, Image, Layer};
use larder_proto::containerd::types::Mount;
use tokio::sync::OnceCell;

use super::check;
use super::report::AttachImageError;
use super::settle::link_labels;
use crate::blocking::blocking;
use crate::containerd::{Containerd, Lease};
use crate::overlay::{OverlayError, OverlayRoot, replace_by_link};
use crate::stage::Staged;

/// The layers of a disk, on their way to a node.
pub(super) struct Layers<'a> {
    /// Under `lease`.
    pub(super) containerd: Containerd,
    pub(super) lease: &'a Lease,
    pub(super) overlay: &'a OverlayRoot,
    pub(super) staged: &'a Staged,
    /// The names of the snapshots that the node had.
    pub(super) present: BTreeSet<String>,
    /// Filled where a layer is there by now.
    pub(super) linked: Mutex<BTreeMap<ChainId, Arc<OnceCell<()>>>>,
}

/// Where a layer is on which disk.
#[derive(Clone, Debug)]
struct Location {
    disk: Digest,
    /// Where the disk is mounted.
    place: PathBuf,
    /// `snapshots/<N>/fs`.
    directory: PathBuf,
}

impl Layers<'_> {
    /// Links what `image` lacks, base first; returns how many layers were linked for it, and how many were there.
    pub(super) async fn link(&self, image: &Image) -> Result<(usize, usize), AttachImageError> {
        let (present, missing) = check::split_layers(image, &self.present);
        if let Some(top) = present.last() {
            self.hold(top.chain_id).await?;
        }
        let mut linked = 0;
        for layer in missing {
            linked += usize::from(self.link_once(layer).await?);
        }
        Ok((linked, image.layers.len() - linked))
    }

    /// Keeps a layer that is there, which may have been collected just before.
    async fn hold(&self, layer: ChainId) -> Result<(), AttachImageError> {
        self.containerd.hold_snapshot(self.lease, layer).await?;
        if self.containerd.has_snapshot(layer).await? {
            Ok(())
        } else {
            Err(AttachImageError::LayerVanished(layer))
        }
    }

    /// Waits where another image's turn links the same layer; if that fails, this one tries. False where nothing was linked.
    async fn link_once(&self, layer: &Layer) -> Result<bool, AttachImageError> {
        let cell = {
            let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(linked.entry(layer.chain_id).or_default())
        };
        let mut made = false;
        let link = async || {
            made = self.link_layer(layer).await?;
            Ok::<_, AttachImageError>(())
        };
        cell.get_or_try_init(link).await?;
        Ok(made)
    }

    async fn link_layer(&self, layer: &Layer) -> Result<bool, AttachImageError> {
        let Staged { disk, place, .. } = self.staged;
        let directory = disk.layers.get(&layer.chain_id);
        let directory = directory.ok_or(AttachImageError::NotOnDisk(layer.chain_id))?.clone();
        let location = Location { disk: disk.id, place: place.clone(), directory };
        let linked = link_layer(&self.containerd, self.lease, self.overlay, layer, &location).await?;
        if !linked {
            self.hold(layer.chain_id).await?;
        }
        Ok(linked)
    }
}

/// Makes `layer` a link to `location`; false where somebody else made the layer in the meantime, which is as good.
async fn link_layer(
    containerd: &Containerd,
    lease: &Lease,
    overlay: &OverlayRoot,
    layer: &Layer,
    location: &Location,
) -> Result<bool, AttachImageError> {
    let key = format!("larder-{} {}", lease.id, layer.chain_id);
    let mounts = containerd.prepare_snapshot(&key, layer.parent).await?;
    let result = finish(containerd, overlay, &key, mounts, layer, location).await;
    if !matches!(result, Ok(true)) {
        // The lease would give it up too, but later; what counts is the result.
        if let Err(error) = containerd.remove_snapshot(&key).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a half-made snapshot is left to containerd"
            );
        }
    }
    result
}

async fn finish(
    containerd: &Containerd,
    overlay: &OverlayRoot,
    key: &str,
    mounts: Vec<Mount>,
    layer: &Layer,
    location: &Location,
) -> Result<bool, AttachImageError> {
    let failed = |source| AttachImageError::Link { chain_id: layer.chain_id, source };
    replace_upper(overlay.clone(), mounts, location.place.join(&location.directory)).await.map_err(failed)?;
    let labels = link_labels(&location.disk.to_string(), &location.directory.display().to_string());
    match containerd.commit_snapshot(key, layer.chain_id, labels).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_already_exists() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn replace_upper(
    overlay: OverlayRoot,
    mounts: Vec<Mount>,
    target: PathBuf,
) -> Result<(), OverlayError> {
    blocking(move || replace_by_link(&overlay.upper(&mounts)?, &target)).await
}
