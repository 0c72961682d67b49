//! What a disk has that another has not: images by name, layers by chain ID.

use std::collections::BTreeMap;

use larder_core::{ChainId, Digest};
use serde::Serialize;

use crate::inspect::{InspectedImage, InspectedLayer, Inspection};

/// How a new disk differs from an old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskDiff {
    /// Images of either disk, by name.
    pub images: Vec<ImageDiff>,
    /// Layers of either disk, by chain ID.
    pub layers: Vec<LayerDiff>,
    /// Layers that only the new disk has.
    pub added: Amount,
    /// Layers that both have.
    pub kept: Amount,
    /// Layers that only the old disk has.
    pub gone: Amount,
}

/// What became of something from the old disk to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Only the new disk has it.
    Added,
    /// Both have something by this name, but not the same.
    Changed,
    /// Both have it.
    Kept,
    /// Only the old disk has it.
    Gone,
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageDiff {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: Change,
    /// What it resolves to on the old disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Digest>,
    /// What it resolves to on the new disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Digest>,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerDiff {
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// What became of it; never [`Change::Changed`].
    pub change: Change,
    /// Files, directories and links.
    pub files: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// The images that have it, on the new disk if it is there.
    pub images: Vec<String>,
}

/// So many layers, of so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// How many.
    pub layers: usize,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// How `new` differs from `old`.
pub fn diff(old: &Inspection, new: &Inspection) -> DiskDiff {
    let layers = layers(&old.layers, &new.layers);
    let amount = |change| {
        layers.iter().filter(|layer| layer.change == change).fold(Amount::default(), |sum, layer| Amount {
            layers: sum.layers + 1,
            bytes: sum.bytes.saturating_add(layer.bytes),
        })
    };
    DiskDiff {
        images: images(&old.images, &new.images),
        added: amount(Change::Added),
        kept: amount(Change::Kept),
        gone: amount(Change::Gone),
        layers,
    }
}

/// Both sides of everything that either has.
fn paired<'a, K: Ord, V>(
    old: &'a [V],
    new: &'a [V],
    key: impl Fn(&'a V) -> K,
) -> BTreeMap<K, (Option<&'a V>, Option<&'a V>)> {
    let mut pairs: BTreeMap<K, (Option<&V>, Option<&V>)> = BTreeMap::new();
    for value in old {
        pairs.entry(key(value)).or_default().0 = Some(value);
    }
    for value in new {
        pairs.entry(key(value)).or_default().1 = Some(value);
    }
    pairs
}

fn images(old: &[InspectedImage], new: &[InspectedImage]) -> Vec<ImageDiff> {
    let of_pair = |(name, (old, new)): (&str, (Option<&InspectedImage>, Option<&InspectedImage>))| {
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Gone,
            (Some(old), Some(new)) if is_same(old, new) => Change::Kept,
            _ => Change::Changed,
        };
        let digest = |image: Option<&InspectedImage>| image.and_then(|image| image.digest);
        ImageDiff { name: name.to_owned(), change, old: digest(old), new: digest(new) }
    };
    paired(old, new, |image| image.name.as_str()).into_iter().map(of_pair).collect()
}

/// The same index may stand for another platform.
fn is_same(old: &InspectedImage, new: &InspectedImage) -> bool {
    (old.digest, &old.platform) == (new.digest, &new.platform)
}

fn layers(old: &[InspectedLayer], new: &[InspectedLayer]) -> Vec<LayerDiff> {
    let of_pair = |(chain_id, (old, new)): (ChainId, (Option<&InspectedLayer>, Option<&InspectedLayer>))| {
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Gone,
            _ => Change::Kept,
        };
        let there = new.or(old);
        LayerDiff {
            chain_id,
            change,
            files: there.map_or(0, |layer| layer.files),
            bytes: there.map_or(0, |layer| layer.bytes),
            images: there.map(|layer| layer.images.clone()).unwrap_or_default(),
        }
    };
    paired(old, new, |layer| layer.chain_id).into_iter().map(of_pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Sharing;

    fn disk(images: &[(&str, &str)], layers: &[(&str, u64)]) -> Inspection {
        let image = |(name, content): &(&str, &str)| InspectedImage {
            name: (*name).to_owned(),
            digest: Some(Digest::of(content.as_bytes())),
            platform: None,
            contents: None,
        };
        let layer = |(name, bytes): &(&str, u64)| InspectedLayer {
            chain_id: ChainId(Digest::of(name.as_bytes())),
            diff_id: None,
            number: 1,
            files: 1,
            bytes: *bytes,
            images: Vec::new(),
        };
        Inspection {
            id: None,
            file_system: None,
            images: images.iter().map(image).collect(),
            layers: layers.iter().map(layer).collect(),
            shared: Sharing::default(),
        }
    }

    #[test]
    fn images_go_by_name_and_layers_by_chain_id() {
        let old = disk(&[("a", "1"), ("b", "1"), ("c", "1")], &[("x", 10), ("y", 20)]);
        let new = disk(&[("b", "1"), ("c", "2"), ("d", "1")], &[("y", 20), ("z", 5), ("w", 7)]);
        let diff = diff(&old, &new);
        let images: Vec<_> = diff.images.iter().map(|image| (image.name.as_str(), image.change)).collect();
        let expected =
            [("a", Change::Gone), ("b", Change::Kept), ("c", Change::Changed), ("d", Change::Added)];
        assert_eq!(images, expected);
        assert_eq!(diff.added, Amount { layers: 2, bytes: 12 });
        assert_eq!(diff.kept, Amount { layers: 1, bytes: 20 });
        assert_eq!(diff.gone, Amount { layers: 1, bytes: 10 });
        assert_eq!(diff.layers.len(), 4);
    }
}
