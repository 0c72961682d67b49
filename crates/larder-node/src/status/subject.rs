//! The images of which a verdict is wanted, and what is known of each. No I/O.

use std::collections::BTreeMap;

use larder_core::{ChainId, Digest, Image};

use super::look::SeenDisk;
use crate::attach::record_name;
use crate::containerd::{ImageRecord, Snapshot};
use crate::cri::ImageSeen;
use crate::detach::seen::SeenImage;
use crate::labels;

/// An image as CRI lists it to the kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedImage {
    /// The digest of the configuration.
    pub(super) id: Digest,
    pub(super) tags: Vec<String>,
    /// Names by digest.
    pub(super) digests: Vec<String>,
}

impl ListedImage {
    /// None where the id is no digest.
    pub(super) fn of(seen: ImageSeen) -> Option<Self> {
        Some(Self { id: seen.id.parse().ok()?, tags: seen.tags, digests: seen.digests })
    }
}

/// An image of which a verdict is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) name: String,
    /// The disk that it is on, or was attached from.
    pub(super) disk: Option<Digest>,
    /// What the name leads to on the disk, where the disk is there.
    pub(super) target: Option<Digest>,
    pub(super) config: Option<Digest>,
    /// What containerd must have of it besides layers.
    pub(super) blobs: Vec<Digest>,
    /// Base first; none where nothing tells them.
    pub(super) layers: Option<Vec<ChainId>>,
    pub(super) record: Option<ImageRecord>,
}

/// Every image of the disks that are there, every image that was attached, every other that stands on an attached layer, and
/// whatever else CRI lists.
pub(super) fn subjects(
    disks: &[SeenDisk],
    images: &[SeenImage],
    snapshots: &BTreeMap<String, Snapshot>,
    listed: &[ListedImage],
) -> Vec<Subject> {
    let by_name: BTreeMap<&str, &SeenImage> =
        images.iter().map(|image| (image.record.name.as_str(), image)).collect();
    let mut subjects: BTreeMap<String, Subject> = BTreeMap::new();
    for disk in disks {
        for image in disk.content.iter().flat_map(|content| &content.images) {
            let name = record_name(&image.reference);
            let record = by_name.get(name.as_str()).map(|image| &image.record);
            // Several generations of a disk may be there: the record says which one counts.
            let attached_from = by_name.get(name.as_str()).and_then(|image| image.disk());
            if attached_from == Some(disk.id) || !subjects.contains_key(&name) {
                let subject = on_disk(name.clone(), disk.id, image, record.cloned());
                subjects.insert(name, subject);
            }
        }
    }
    let shared = |image: &SeenImage| image.layers().any(|layer| is_attached(&layer, snapshots));
    for image in images {
        let is_name = is_asked_for(image) && !is_second_name(image, images);
        if is_name && !subjects.contains_key(&image.record.name) && (image.disk().is_some() || shared(image))
        {
            subjects.insert(image.record.name.clone(), recorded(image));
        }
    }
    for image in listed {
        let ours = |name: &str| by_name.get(name).is_some_and(|image| image.disk().is_some());
        for name in asked_for(image).into_iter().filter(|name| !ours(name)) {
            let subject = || of_runtime(name.clone(), image.id, images);
            subjects.entry(name.clone()).or_insert_with(subject);
        }
    }
    subjects.into_values().collect()
}

/// The names by tag, where there is none those by digest, and of an image without a name its id.
fn asked_for(ListedImage { id, tags, digests }: &ListedImage) -> Vec<String> {
    match (&tags[..], &digests[..]) {
        ([], []) => vec![id.to_string()],
        ([], digests) => digests.to_vec(),
        (tags, _) => tags.to_vec(),
    }
}

/// Whether a disk's layer stands for `layer`.
pub(super) fn is_attached(layer: &str, snapshots: &BTreeMap<String, Snapshot>) -> bool {
    snapshots.get(layer).is_some_and(|snapshot| snapshot.labels.contains_key(labels::DISK))
}

/// Not CRI's record of an id, nor one of ours that goes with a name.
fn is_asked_for(image: &SeenImage) -> bool {
    !image.is_id() && image.record.labels.get(labels::AS).is_none_or(|value| value == labels::AS_REFERENCE)
}

/// A name by digest that stands beside a name by tag, as a pull writes them.
fn is_second_name(image: &SeenImage, images: &[SeenImage]) -> bool {
    let by_tag = |other: &&SeenImage| other.record.target == image.record.target && !other.is_id();
    image.disk().is_none()
        && image.record.name.contains('@')
        && images.iter().filter(by_tag).any(|other| !other.record.name.contains('@'))
}

fn on_disk(name: String, disk: Digest, image: &Image, record: Option<ImageRecord>) -> Subject {
    let blobs = image.indexes.iter().chain([&image.manifest, &image.config]);
    Subject {
        name,
        disk: Some(disk),
        target: Some(image.target().descriptor.digest),
        config: Some(image.config.descriptor.digest),
        blobs: blobs.map(|blob| blob.descriptor.digest).collect(),
        layers: Some(image.layers.iter().map(|layer| layer.chain_id).collect()),
        record,
    }
}

/// An image that only containerd tells of: its disk is away, or it was pulled.
fn recorded(image: &SeenImage) -> Subject {
    let chain = image.chains.first();
    Subject {
        name: image.record.name.clone(),
        disk: image.disk(),
        target: None,
        config: chain.map(|chain| chain.config),
        blobs: chain.map(|chain| vec![chain.manifest, chain.config]).unwrap_or_default(),
        layers: chain.map(|chain| chain.layers.clone()),
        record: Some(image.record.clone()),
    }
}

/// An image that no disk concerns. A record may write the name differently than CRI, which knows images by their id.
fn of_runtime(name: String, id: Digest, images: &[SeenImage]) -> Subject {
    let mut records = images.iter().filter(|image| image.has_config(id));
    let image = images.iter().find(|image| image.record.name == name).or_else(|| records.next());
    let chain = image.and_then(|image| image.chains.iter().find(|chain| chain.config == id));
    Subject {
        name,
        disk: None,
        target: None,
        config: Some(id),
        // Its manifest and configuration were read for its layers.
        blobs: Vec::new(),
        layers: chain.map(|chain| chain.layers.clone()),
        record: image.map(|image| image.record.clone()),
    }
}
