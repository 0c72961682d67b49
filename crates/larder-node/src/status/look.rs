//! What the node has, as far as its status must know it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_core::Digest;
use larder_disk::CacheDisk;
use tokio::time::timeout;

use super::StatusError;
use super::report::{DiskFault, DiskStatus};
use super::subject::{ListedImage, Subject, subjects};
use crate::attach::record_name;
use crate::blocking::blocking;
use crate::causes::with_causes;
use crate::containerd::{ContainerdError, Snapshot};
use crate::cri::Cri;
use crate::detach::seen;
use crate::hydrate::{Hydration, read_hydration};
use crate::node::Node;
use crate::overlay::{Link, OverlayRoot};
use crate::stage::{StageError, has_device, is_mount_point};
use crate::state::StateDir;

/// A disk that has a place, and what is on it if it is there.
#[derive(Debug)]
pub(super) struct SeenDisk {
    pub(super) id: Digest,
    pub(super) place: PathBuf,
    pub(super) content: Result<CacheDisk, DiskFault>,
    pub(super) hydration: Option<Hydration>,
}

impl SeenDisk {
    pub(super) fn into_status(self) -> DiskStatus {
        let Self { id, place, content, hydration } = self;
        DiskStatus { disk: id, place, fault: content.err(), hydration }
    }
}

/// CRI answers from memory, within milliseconds.
const LIST: Duration = Duration::from_mins(1);

/// Everything that a verdict rests on.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) disks: Vec<SeenDisk>,
    /// What a verdict is wanted of.
    pub(super) subjects: Vec<Subject>,
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    /// Where links lead, and whether a directory that can be read is there, on a disk that is mounted.
    pub(super) links: BTreeMap<PathBuf, bool>,
    /// Of the blobs that the subjects need, those that containerd has.
    pub(super) blobs: BTreeSet<Digest>,
    /// The ids that CRI has for names; none in a namespace that CRI does not serve.
    pub(super) cri: Option<BTreeMap<String, Digest>>,
}

pub(super) async fn look(node: &Node, state: &StateDir) -> Result<Seen, StatusError> {
    let images = seen::with_layers(&node.containerd, node.containerd.list_images().await?).await?;
    let by_name = |snapshot: Snapshot| (snapshot.name.clone(), snapshot);
    let snapshots = node.containerd.list_snapshots().await?.into_iter().map(by_name).collect();
    let listed = match &node.cri {
        Some(cri) => Some(list(cri).await?),
        None => None,
    };
    let (disks, links) = {
        let (state, overlay) = (state.clone(), node.overlay.clone());
        blocking(move || {
            let disks = look_at_disks(&state)?;
            let links = look_at_links(&overlay, &state, &disks)?;
            Ok::<_, StatusError>((disks, links))
        })
        .await?
    };
    let subjects = subjects(&disks, &images, &snapshots, listed.as_deref().unwrap_or_default());
    let blobs = look_at_blobs(node, &subjects).await?;
    Ok(Seen { disks, subjects, snapshots, links, blobs, cri: listed.map(ids) })
}

async fn list(cri: &Cri) -> Result<Vec<ListedImage>, StatusError> {
    let listed = timeout(LIST, cri.list_images()).await.map_err(|_| StatusError::CriSilent(LIST))??;
    Ok(listed.into_iter().filter_map(ListedImage::of).collect())
}

/// The ids of images by all their names.
fn ids(listed: Vec<ListedImage>) -> BTreeMap<String, Digest> {
    let named = |ListedImage { id, tags, digests }| {
        tags.into_iter().chain(digests).chain([id.to_string()]).map(move |name| (name, id))
    };
    listed.into_iter().flat_map(named).collect()
}

/// The disks that are to be there, each with the images that are wanted from it.
fn look_at_disks(state: &StateDir) -> Result<Vec<SeenDisk>, StatusError> {
    let (leaving, staying): (Vec<_>, Vec<_>) =
        state.records()?.into_iter().partition(|record| record.leaving);
    let wanted: BTreeMap<Digest, BTreeSet<String>> =
        staying.into_iter().map(|record| (record.disk, record.images)).collect();
    let mut known = state.known_disks()?;
    known.retain(|disk| leaving.iter().all(|record| record.disk != *disk));
    let seen = |id| {
        let place = state.place(id);
        let mut content = look_at_disk(id, &place)?;
        if let (Ok(disk), Some(names)) = (&mut content, wanted.get(&id)) {
            disk.images.retain(|image| names.contains(&record_name(&image.reference)));
        }
        Ok(SeenDisk { id, place, content, hydration: read_hydration(state, id)? })
    };
    known.into_iter().map(seen).collect()
}

/// A disk that is of no use is a finding, not an error.
fn look_at_disk(id: Digest, place: &Path) -> Result<Result<CacheDisk, DiskFault>, StatusError> {
    let mounted = is_mount_point(place).map_err(|source| StageError::Io {
        action: "read the mounts for",
        path: place.to_owned(),
        source,
    })?;
    if !mounted {
        return Ok(Err(DiskFault::NotMounted));
    }
    match has_device(place) {
        Ok(true) => {}
        Ok(false) => return Ok(Err(DiskFault::DeviceGone)),
        Err(error) => return Ok(Err(DiskFault::Unreadable { message: with_causes(&error) })),
    }
    Ok(match CacheDisk::read(place) {
        Ok(disk) if disk.id == id => Ok(disk),
        Ok(disk) => Err(DiskFault::Other { found: disk.id }),
        Err(error) => Err(DiskFault::Unreadable { message: with_causes(&error) }),
    })
}

fn look_at_links(
    overlay: &OverlayRoot,
    state: &StateDir,
    disks: &[SeenDisk],
) -> Result<BTreeMap<PathBuf, bool>, StatusError> {
    let places: Vec<_> =
        disks.iter().filter(|disk| disk.content.is_ok()).map(|disk| disk.place.as_path()).collect();
    let good = |target: &Path| {
        places.iter().any(|place| target.starts_with(place))
            && target.read_dir().is_ok_and(|mut entries| entries.next().is_none_or(|entry| entry.is_ok()))
    };
    let links = overlay.links_below(&state.disks())?.into_iter();
    Ok(links.map(|Link { path: _, target }| (target.clone(), good(&target))).collect())
}

async fn look_at_blobs(node: &Node, subjects: &[Subject]) -> Result<BTreeSet<Digest>, ContainerdError> {
    let needed: BTreeSet<Digest> =
        subjects.iter().flat_map(|subject| subject.blobs.iter().copied()).collect();
    let mut present = BTreeSet::new();
    for digest in needed {
        if node.containerd.content_labels(digest).await?.is_some() {
            present.insert(digest);
        }
    }
    Ok(present)
}
