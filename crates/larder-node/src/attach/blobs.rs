//! The content that an image needs, with the labels by which containerd's garbage collection finds its way:
//! index -> manifest -> configuration -> top snapshot. Layer blobs are absent, so that no label names one.

use std::collections::HashMap;

use larder_core::{Blob, Descriptor, Digest, Image};

use crate::containerd::SNAPSHOTTER;
use crate::labels;

/// A blob and the labels that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelledBlob<'a> {
    pub(super) blob: &'a Blob,
    pub(super) labels: HashMap<String, String>,
}

/// Every blob of `image`, what is named before what names it.
pub(super) fn labelled(image: &Image) -> Vec<LabelledBlob<'_>> {
    let snapshot = image.top().map(|top| (labels::GC_SNAPSHOT.to_owned(), top.to_string()));
    let config = LabelledBlob { blob: &image.config, labels: snapshot.into_iter().collect() };
    let config_label = (labels::GC_CONFIG.to_owned(), image.config.descriptor.digest.to_string());
    let manifest = LabelledBlob { blob: &image.manifest, labels: [config_label].into() };
    let mut blobs = vec![config, manifest];
    let mut next = &image.manifest.descriptor;
    for index in image.indexes.iter().rev() {
        blobs.push(LabelledBlob { blob: index, labels: index_labels(index, next) });
        next = &index.descriptor;
    }
    blobs
}

/// containerd numbers an index's manifests by their position; any number serves.
fn index_labels(index: &Blob, next: &Descriptor) -> HashMap<String, String> {
    let position = larder_core::Index::parse(index)
        .ok()
        .and_then(|index| index.manifests.iter().position(|entry| entry.descriptor.digest == next.digest));
    [(format!("{}{}", labels::GC_MANIFEST, position.unwrap_or_default()), next.digest.to_string())].into()
}

/// The labels of `wanted` that `found` lacks or has otherwise.
pub(super) fn missing_labels(
    wanted: &HashMap<String, String>,
    found: &HashMap<String, String>,
) -> HashMap<String, String> {
    let differs = |(key, value): &(&String, &String)| found.get(*key) != Some(*value);
    wanted.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The name of a write, which containerd wants to be unlike any other that goes on.
pub(super) fn write_reference(lease: &str, digest: Digest) -> String {
    format!("larder-{lease}-{SNAPSHOTTER}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::image;

    #[test]
    fn garbage_collection_finds_the_snapshot_from_the_index() {
        let image = image("a:1", &["x", "y"]);
        let blobs = labelled(&image);
        let labels: Vec<_> =
            blobs.iter().map(|blob| blob.labels.clone().into_iter().collect::<Vec<_>>()).collect();
        let digest = |blob: &Blob| blob.descriptor.digest.to_string();
        let label = |key: &str, value: String| vec![(key.to_owned(), value)];
        let wanted = [
            label("containerd.io/gc.ref.snapshot.overlayfs", image.top().unwrap().to_string()),
            label("containerd.io/gc.ref.content.config", digest(&image.config)),
            label("containerd.io/gc.ref.content.m.1", digest(&image.manifest)),
        ];
        assert_eq!(labels, wanted);
        assert_eq!(blobs[2].blob, image.target());
    }

    #[test]
    fn an_image_without_layers_keeps_no_snapshot() {
        assert!(labelled(&image("a", &[]))[0].labels.is_empty());
    }

    #[test]
    fn only_labels_that_differ_are_added() {
        let labels = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let wanted = labels(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let found = labels(&[("a", "1"), ("b", "x"), ("d", "4")]);
        assert_eq!(missing_labels(&wanted, &found), labels(&[("b", "2"), ("c", "3")]));
    }
}
