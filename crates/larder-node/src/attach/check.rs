//! Whether an image can be attached, and which of its layers are missing: judged before anything is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use larder_core::{ChainId, Digest, Image, Layer, Platform};

use super::report::AttachImageError;
use crate::containerd::Snapshot;
use crate::labels;

/// The snapshots of a namespace by their names.
pub(super) type Snapshots = BTreeMap<String, Snapshot>;

/// An image for another platform is refused.
pub(super) fn check_platform(image: &Image, node: &Platform) -> Result<(), AttachImageError> {
    if image.platform.serves(node) {
        return Ok(());
    }
    Err(AttachImageError::Platform { image: Box::new(image.platform.clone()), node: Box::new(node.clone()) })
}

/// Where the layers lead that are links already, by an earlier attach.
pub(super) fn link_targets(
    image: &Image,
    snapshots: &Snapshots,
    place: impl Fn(Digest) -> PathBuf,
) -> Vec<(ChainId, PathBuf)> {
    let target = |layer: &Layer| {
        let labels = &snapshots.get(&layer.chain_id.to_string())?.labels;
        let disk = labels.get(labels::DISK)?.parse().ok()?;
        Some((layer.chain_id, place(disk).join(labels.get(labels::DIRECTORY)?)))
    };
    image.layers.iter().filter_map(target).collect()
}

/// The layers that the node has and those that it lacks, base first.
pub(super) fn split_layers<'a>(
    image: &'a Image,
    present: &BTreeSet<String>,
) -> (Vec<&'a Layer>, Vec<&'a Layer>) {
    image.layers.iter().partition(|layer| present.contains(&layer.chain_id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::SnapshotKind;
    use crate::fixture::image;

    fn snapshot(layer: &Layer, labels: &[(&str, String)]) -> (String, Snapshot) {
        let name = layer.chain_id.to_string();
        let parent = layer.parent.map(|parent| parent.to_string());
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        (name.clone(), Snapshot { name, parent, kind: SnapshotKind::Committed, labels })
    }

    #[test]
    fn only_what_is_missing_is_linked() {
        let image = image("a", &["x", "y", "z"]);
        let snapshots = [image.layers[0].chain_id.to_string()].into();
        let (present, missing) = split_layers(&image, &snapshots);
        assert_eq!(present, [&image.layers[0]]);
        assert_eq!(missing, [&image.layers[1], &image.layers[2]]);
    }

    #[test]
    fn links_of_an_earlier_attach_are_known_by_their_labels() {
        let image = image("a", &["x", "y"]);
        let disk = Digest::of(b"disk");
        let linked = [(labels::DISK, disk.to_string()), (labels::DIRECTORY, "snapshots/4/fs".to_owned())];
        let snapshots = [snapshot(&image.layers[0], &[]), snapshot(&image.layers[1], &linked)].into();
        let place = |disk: Digest| PathBuf::from("/disks").join(disk.hex());
        let target = place(disk).join("snapshots/4/fs");
        assert_eq!(link_targets(&image, &snapshots, place), [(image.layers[1].chain_id, target)]);
    }

    #[test]
    fn another_platform_is_refused() {
        let image = image("a", &[]);
        assert!(check_platform(&image, &Platform::host()).is_ok());
        let error = check_platform(&image, &"linux/riscv64".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("this node is linux/riscv64"), "{error}");
    }
}
