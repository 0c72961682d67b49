//! What is done about a disk that is away: a layer that links to it breaks every image above it, pulled ones too, while CRI
//! still calls them present and pulls them "successfully". So they are withdrawn: ours at once; what others built on such a
//! layer is named, and goes only on demand.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use larder_core::Digest;

use crate::blocking::blocking;
use crate::containerd::ContainerdError;
use crate::detach::plan::{links_to, orphans, users_of};
use crate::detach::{Use, collect_garbage, seen};
use crate::labels;
use crate::node::Node;
use crate::overlay::OverlayError;
use crate::stage::StageError;
use crate::state::StateDir;
use plan::Withdrawal;

/// Why what a vanished disk broke is not withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum HealError {
    /// containerd or CRI does not do what is needed.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// The links cannot be listed.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

/// A disk that is away, and what became of what it broke.
#[derive(Debug)]
pub struct LostDisk {
    /// Its id.
    pub disk: Digest,
    /// Where it was looked for; none where nothing is known of it but links.
    pub reason: Option<StageError>,
    /// Image records that were removed.
    pub withdrawn: Vec<String>,
    /// Broken layers that are left, for something holds them.
    pub layers: usize,
    /// What holds them: other people's images and containers.
    pub held: Vec<Use>,
}

/// Withdraws what is linked to disks other than the `ready` ones. `away` are the disks that were to be there.
pub(crate) async fn withdraw(
    node: &Node,
    state: &StateDir,
    ready: &BTreeSet<Digest>,
    mut away: BTreeMap<Digest, StageError>,
    force: bool,
) -> Result<Vec<LostDisk>, HealError> {
    let snapshots = node.containerd.list_snapshots().await?;
    let dangling = dangling(node).await?;
    let labelled = snapshots.iter().filter_map(|snapshot| snapshot.labels.get(labels::DISK)?.parse().ok());
    let linked: BTreeSet<Digest> =
        labelled.filter(|disk| !ready.contains(disk) && dangling.contains(disk)).collect();
    let lost: BTreeSet<Digest> = linked.iter().chain(away.keys()).copied().collect();
    let mut removed = BTreeMap::new();
    for &disk in &linked {
        removed.insert(disk, withdraw_disk(node, disk, force).await?);
    }
    if !linked.is_empty() {
        collect_garbage(&node.containerd, state).await?;
    }
    let left = if linked.is_empty() { seen::Seen::default() } else { seen::look(&node.containerd).await? };
    let report = |disk: Digest| {
        let layers = links_to(&left, disk);
        LostDisk {
            disk,
            reason: away.remove(&disk),
            withdrawn: removed.remove(&disk).unwrap_or_default(),
            held: users_of(&left, &layers).into_iter().collect(),
            layers: layers.len(),
        }
    };
    Ok(lost.into_iter().map(report).collect())
}

/// The disks that links lead to which lead nowhere. Labels alone do not tell: a disk may be at another state directory's place.
async fn dangling(node: &Node) -> Result<BTreeSet<Digest>, OverlayError> {
    let overlay = node.overlay.clone();
    let links = blocking(move || {
        let mut links = overlay.links_below(Path::new("/"))?;
        links.retain(|link| !link.target.is_dir());
        Ok(links)
    });
    Ok(links.await?.iter().filter_map(|link| disk_in(&link.target)).collect())
}

/// A place is named by the disk's id.
fn disk_in(target: &Path) -> Option<Digest> {
    let mut parts = target.components().filter_map(|part| part.as_os_str().to_str());
    parts.find_map(|part| format!("sha256:{part}").parse().ok())
}

/// Returns the image records that were removed.
async fn withdraw_disk(node: &Node, disk: Digest, force: bool) -> Result<Vec<String>, ContainerdError> {
    let seen = seen::look(&node.containerd).await?;
    let Withdrawal { records, containers } = plan::plan(&seen, &links_to(&seen, disk), force);
    if let Some(cri) = node.cri.as_ref().filter(|_| !containers.is_empty()) {
        cri.remove_dead(&containers).await?;
    }
    for record in &records {
        node.containerd.delete_image(record).await?;
        tracing::warn!(image = record, %disk, "withdrew an image whose disk is away");
    }
    Ok(records)
}

/// Removes the digest records of `repositories` that went with a name which points elsewhere now.
pub(crate) async fn drop_orphans(
    node: &Node,
    repositories: &BTreeSet<String>,
) -> Result<(), ContainerdError> {
    if repositories.is_empty() {
        return Ok(());
    }
    for record in orphans(&seen::look(&node.containerd).await?, repositories) {
        node.containerd.delete_image(&record).await?;
    }
    Ok(())
}
