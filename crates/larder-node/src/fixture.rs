//! Images for the tests of decisions; no layer has content.

use larder_core::{Blob, DiffId, Digest, Image, Platform, media_type};

/// An image for this machine behind an index, with one layer for each text.
pub(crate) fn image(name: &str, layers: &[&str]) -> Image {
    let platform = Platform::host();
    let diff_ids: Vec<_> = layers.iter().map(|text| DiffId(Digest::of(text.as_bytes()))).collect();
    let config = serde_json::json!({
        "os": platform.os, "architecture": platform.architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = Blob::new(media_type::OCI_CONFIG, config.to_string());
    let layer = |text: &&str| serde_json::json!({"mediaType": media_type::OCI_LAYER, "digest": Digest::of(text.as_bytes()), "size": 1});
    let layers: Vec<_> = layers.iter().map(layer).collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config.descriptor, "layers": layers});
    let manifest = Blob::new(media_type::OCI_MANIFEST, manifest.to_string());
    let other =
        serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"o"), "size": 1});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [other, manifest.descriptor]});
    let index = Blob::new(media_type::OCI_INDEX, index.to_string());
    let reference = name.parse().unwrap();
    Image::assemble(reference, vec![index], manifest, config, &platform).unwrap()
}
