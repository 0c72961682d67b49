//! After a boot: every disk at its place again, else what it broke withdrawn.

use std::path::{Path, PathBuf};

use larder_core::Digest;

use super::{AttachError, AttachOptions, AttachedImage, attach_staged, ids, settle};
use crate::blocking::blocking;
use crate::containerd::NodeOptions;
use crate::disks::Disks;
use crate::heal::{self, LostDisk};
use crate::node::Node;
use crate::stage::{StageError, bring_back};
use crate::state::{StateDir, StateError};

/// What a restore did.
#[derive(Debug)]
pub struct RestoreReport {
    /// Disks at their places, and their images.
    pub disks: Vec<RestoredDisk>,
    /// Disks that are away, and what they broke.
    pub lost: Vec<LostDisk>,
}

impl RestoreReport {
    /// Whether anything of what was attached is not.
    pub fn has_failures(&self) -> bool {
        let failed = |disk: &RestoredDisk| disk.images.iter().any(|image| image.result.is_err());
        !self.lost.is_empty() || self.disks.iter().any(failed)
    }
}

/// A disk at its place again.
#[derive(Debug)]
pub struct RestoredDisk {
    /// Its id.
    pub disk: Digest,
    /// Where it is mounted.
    pub place: PathBuf,
    /// Its images.
    pub images: Vec<AttachedImage>,
}

/// A disk of an earlier attach.
#[derive(Debug)]
pub struct RemountedDisk {
    /// Its id.
    pub disk: Digest,
    /// Where it is mounted, or why it is not.
    pub result: Result<PathBuf, StageError>,
}

/// Puts every disk that was attached at its place. Needs no containerd, which should start after it.
pub async fn remount(state_dir: &Path) -> Result<Vec<RemountedDisk>, StateError> {
    let state = StateDir::open(state_dir)?;
    let _lock = state.lock().await?;
    blocking(move || {
        let records = state.records()?.into_iter().filter(|record| !record.leaving);
        let remounted = records.map(|record| {
            let result = bring_back(&state, &record).map(|staged| staged.place);
            RemountedDisk { disk: record.disk, result }
        });
        Ok(remounted.collect())
    })
    .await
}

/// Puts every disk that was attached at its place and attaches its images again; withdraws those of disks that are away.
/// `how.pin` is not looked at: each disk's images are pinned as they were. Should end before the kubelet starts pods.
pub async fn restore(options: &NodeOptions, how: AttachOptions) -> Result<RestoreReport, AttachError> {
    let node = Node::open(options).await?;
    let state = StateDir::open(&options.state_dir)?;
    let _lock = state.lock().await?;
    let disks = {
        let state = state.clone();
        blocking(move || Disks::gather(&state, None)).await?
    };
    node.containerd.drop_leases_of(&state.owner()).await?;
    let ready = disks.ready_disks();
    settle(&node, &state, &ready).await?;
    let lost = heal::withdraw(&node, &state, &ids(&ready), disks.away, how.force_heal).await?;
    let mut restored = Vec::with_capacity(disks.ready.len());
    for (record, staged) in disks.ready {
        let images = if record.images.is_empty() {
            Vec::new()
        } else {
            attach_staged(&node, &state, &staged, &record.images, record.pin).await?
        };
        restored.push(RestoredDisk { disk: record.disk, place: staged.place, images });
    }
    Ok(RestoreReport { disks: restored, lost })
}
