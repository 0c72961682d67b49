//! From what was seen to a verdict on each image. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use larder_core::{ChainId, Digest, Image};

use super::look::{Seen, SeenDisk};
use super::report::{Cold, ImageStatus, Origin};
use crate::attach::record_name;
use crate::containerd::{ImageRecord, Snapshot};
use crate::detach::seen::SeenImage;
use crate::labels;

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

/// Every image of the disks that are there, every image that was attached, and every other that stands on an attached layer.
pub(super) fn subjects(
    disks: &[SeenDisk],
    images: &[SeenImage],
    snapshots: &BTreeMap<String, Snapshot>,
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
    let shared = |image: &SeenImage| {
        image.layers().any(|layer| snapshots.get(&layer).is_some_and(|s| s.labels.contains_key(labels::DISK)))
    };
    for image in images {
        let is_name = is_asked_for(image) && !is_second_name(image, images);
        if is_name && !subjects.contains_key(&image.record.name) && (image.disk().is_some() || shared(image))
        {
            subjects.insert(image.record.name.clone(), recorded(image));
        }
    }
    subjects.into_values().collect()
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

/// A verdict on every subject.
pub(super) fn judge(seen: &Seen) -> Vec<ImageStatus> {
    seen.subjects.iter().map(|subject| judge_one(subject, seen)).collect()
}

fn judge_one(subject: &Subject, seen: &Seen) -> ImageStatus {
    let Subject { name, disk, layers, record, .. } = subject;
    let label = |key: &str| record.as_ref().and_then(|record| record.labels.get(key));
    let ours = label(labels::DISK).is_some();
    let mut verdict = ImageStatus {
        name: name.clone(),
        origin: if ours || record.is_none() { Origin::Disk } else { Origin::Others },
        disk: *disk,
        pinned: label(labels::PINNED).is_some_and(|value| value == "pinned"),
        layers: layers.as_ref().map(Vec::len),
        linked: 0,
        reasons: Vec::new(),
    };
    let Some(record) = record else {
        verdict.reasons.push(Cold::NoRecord);
        return verdict;
    };
    if let Some(other) = other_content(subject, record, seen) {
        verdict.reasons.push(other);
        return verdict;
    }
    let missing: Vec<_> = subject.blobs.iter().filter(|blob| !seen.blobs.contains(blob)).copied().collect();
    if !missing.is_empty() {
        verdict.reasons.push(Cold::BlobsMissing { blobs: missing });
    }
    match layers {
        Some(layers) => {
            let found = Layers::of(layers, seen);
            verdict.linked = found.linked;
            verdict.reasons.extend(found.into_reasons(seen));
        }
        // What containerd has of it does not lead to its layers, so that its manifest or configuration is gone.
        None => {
            verdict.reasons.push(Cold::BlobsMissing { blobs: record.target.parse().into_iter().collect() });
        }
    }
    verdict.reasons.extend(in_cri(subject, seen));
    verdict
}

/// A name that leads elsewhere; a manifest named directly and one named through its index are the same image to the kubelet.
fn other_content(subject: &Subject, record: &ImageRecord, seen: &Seen) -> Option<Cold> {
    let wanted = subject.target?;
    let found = seen.cri.as_ref().and_then(|cri| cri.get(&subject.name).copied());
    let same = record.target == wanted.to_string() || (found.is_some() && found == subject.config);
    (!same).then(|| Cold::OtherContent { found: record.target.clone(), wanted })
}

fn in_cri(subject: &Subject, seen: &Seen) -> Option<Cold> {
    let found = seen.cri.as_ref()?.get(&subject.name).copied();
    match found {
        None => Some(Cold::NotInCri),
        Some(found) if subject.config.is_some_and(|config| config != found) => {
            Some(Cold::OtherInCri { found })
        }
        Some(_) => None,
    }
}

/// What became of an image's layers.
#[derive(Default)]
struct Layers {
    linked: usize,
    missing: Vec<ChainId>,
    unlinked: Vec<ChainId>,
    dangling: Vec<(ChainId, PathBuf)>,
}

impl Layers {
    fn of(chain: &[ChainId], seen: &Seen) -> Self {
        let mut layers = Self::default();
        for layer in chain {
            let Some(snapshot) = seen.snapshots.get(&layer.to_string()) else {
                layers.missing.push(*layer);
                continue;
            };
            // Without our label somebody else unpacked it: no link, nothing of ours to check.
            if !snapshot.labels.contains_key(labels::DISK) {
                continue;
            }
            let targets = link_targets(*layer, snapshot, seen);
            let links: Vec<_> =
                targets.into_iter().filter(|target| seen.links.contains_key(target)).collect();
            match links.iter().find(|target| seen.links.get(*target) != Some(&true)) {
                _ if links.is_empty() => layers.unlinked.push(*layer),
                Some(target) => layers.dangling.push((*layer, target.clone())),
                None => layers.linked += 1,
            }
        }
        layers
    }

    fn into_reasons(self, seen: &Seen) -> Vec<Cold> {
        let Self { linked: _, missing, unlinked, dangling } = self;
        let mut reasons = Vec::new();
        if !missing.is_empty() {
            reasons.push(Cold::LayersMissing { layers: missing });
        }
        if !unlinked.is_empty() {
            reasons.push(Cold::LinksMissing { layers: unlinked });
        }
        let away = |target: &PathBuf| {
            let disk = seen.disks.iter().find(|disk| target.starts_with(&disk.place));
            disk.filter(|disk| disk.content.is_err()).map(|disk| disk.id)
        };
        let disks: BTreeSet<_> = dangling.iter().filter_map(|(_, target)| away(target)).collect();
        reasons.extend(disks.into_iter().map(|disk| Cold::DiskAway { disk }));
        let damaged: Vec<_> = dangling.into_iter().filter(|(_, target)| away(target).is_none()).collect();
        if let Some((_, target)) = damaged.first().cloned() {
            reasons.push(Cold::LinksDangling {
                layers: damaged.into_iter().map(|(layer, _)| layer).collect(),
                target,
            });
        }
        reasons
    }
}

/// Where a layer's link may lead: where its labels say, or to the same layer on any disk that is there, for an attach that
/// was killed between the two leaves the link ahead of the labels.
fn link_targets(layer: ChainId, snapshot: &Snapshot, seen: &Seen) -> BTreeSet<PathBuf> {
    let label = |key: &str| snapshot.labels.get(key);
    let named: Option<Digest> = label(labels::DISK).and_then(|disk| disk.parse().ok());
    let labelled = seen.disks.iter().find(|disk| Some(disk.id) == named).zip(label(labels::DIRECTORY));
    let on_disks = seen.disks.iter().filter_map(|disk| {
        let directory = disk.content.as_ref().ok()?.layers.get(&layer)?;
        Some(disk.place.join(directory))
    });
    labelled.map(|(disk, directory)| disk.place.join(directory)).into_iter().chain(on_disks).collect()
}

#[cfg(test)]
mod tests;
