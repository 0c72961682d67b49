//! Linking one layer: prepare an empty snapshot, put a link in its place, commit it under the chain ID.

use std::path::PathBuf;

use larder_core::{Digest, Layer};
use larder_proto::containerd::types::Mount;

use super::report::AttachImageError;
use super::settle::link_labels;
use crate::blocking::blocking;
use crate::containerd::{Containerd, Lease};
use crate::overlay::{OverlayError, OverlayRoot, replace_by_link};

/// Where a layer is on which disk.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) disk: Digest,
    /// Where the disk is mounted.
    pub(super) place: PathBuf,
    /// `snapshots/<N>/fs`.
    pub(super) directory: PathBuf,
}

/// Makes `layer` a link to `location`; false where somebody else made the layer in the meantime, which is as good.
pub(super) async fn link_layer(
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
