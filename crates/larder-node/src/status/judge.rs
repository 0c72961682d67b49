//! From what was seen to a verdict on each image. No I/O.

use std::collections::BTreeSet;
use std::path::PathBuf;

use larder_core::{ChainId, Digest};

use super::look::Seen;
use super::report::{Cold, ImageStatus, Origin};
use super::subject::{Subject, is_attached};
use crate::containerd::{ImageRecord, Snapshot};
use crate::labels;

/// A verdict on every subject.
pub(super) fn judge(seen: &Seen) -> Vec<ImageStatus> {
    seen.subjects.iter().map(|subject| judge_one(subject, seen)).collect()
}

fn judge_one(subject: &Subject, seen: &Seen) -> ImageStatus {
    let Subject { name, disk, layers, record, .. } = subject;
    let label = |key: &str| record.as_ref().and_then(|record| record.labels.get(key));
    let mut verdict = ImageStatus {
        name: name.clone(),
        origin: origin(subject, seen),
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

fn origin(subject: &Subject, seen: &Seen) -> Origin {
    let Subject { disk, layers, record, .. } = subject;
    let ours = record.as_ref().is_none_or(|record| record.labels.contains_key(labels::DISK));
    match disk {
        Some(_) if ours => Origin::Disk,
        Some(_) => Origin::Others,
        None if layers.iter().flatten().any(|layer| is_attached(&layer.to_string(), &seen.snapshots)) => {
            Origin::Others
        }
        None => Origin::Runtime,
    }
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
