//! What registries and disks say in text: manifests, indexes, configurations, references, and the disk's own metadata.

use larder_core::{Blob, Digest, Image, ImageRef, Index, Manifest, Platform, media_type};

use crate::layout::CacheDisk;
use larder_fuzz::Target;

#[test]
fn documents_are_read_or_refused() {
    let mut read = |input: &[u8]| {
        let blob = |media_type: &str| Blob::new(media_type, input.to_vec());
        let platform: Platform = "linux/amd64".parse().unwrap();
        let index = blob(media_type::OCI_INDEX);
        let selected = Index::parse(&index).and_then(|parsed| parsed.select(&index, &platform).cloned());
        let manifest = Manifest::parse(&blob(media_type::OCI_MANIFEST));
        let (manifest_blob, config_blob) = documents();
        let images = [
            (blob(media_type::OCI_MANIFEST), config_blob.clone()),
            (manifest_blob, blob(media_type::OCI_CONFIG)),
        ]
        .map(|(manifest, config)| {
            Image::assemble("name".parse().unwrap(), Vec::new(), manifest, config, &platform)
        });
        for image in images.iter().flatten() {
            assert_eq!(image.layers.last().map(|layer| layer.chain_id), image.top());
        }
        let text = String::from_utf8_lossy(input);
        let line = text.lines().next().unwrap_or_default();
        let reference = line.parse::<ImageRef>();
        if let Ok(reference) = &reference {
            assert_eq!(reference.to_string().parse::<ImageRef>().unwrap(), *reference, "{line:?}");
        }
        let others = (line.parse::<Digest>().is_ok(), line.parse::<Platform>().is_ok());
        let manifest_error = manifest.err().map(|error| kind_of(&error)).unwrap_or_default();
        let image_error = images[1].as_ref().err().map(kind_of).unwrap_or_default();
        format!("{} {manifest_error} {image_error} {} {others:?}", selected.is_ok(), reference.is_ok())
    };
    let (manifest, config) = documents();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"m"), "size": 1,
         "platform": {"os": "linux", "architecture": "amd64", "variant": "v1"}, "annotations": {"a": "b"}},
    ]});
    let texts = [
        index.to_string(),
        "host.example:5000/team/app:tag@".to_owned() + &Digest::of(b"m").to_string(),
        "linux/arm64/v8".to_owned(),
        "[".repeat(300),
    ];
    let mut seeds = texts.map(String::into_bytes).to_vec();
    seeds.extend([manifest.bytes.to_vec(), config.bytes.to_vec()]);
    Target { name: "documents", corpus: super::CORPUS, seeds, mend: &|_, _| {}, read: &mut read }.run();
}

/// The error's variant, and what the parser said.
fn kind_of(error: &(impl std::error::Error + 'static)) -> String {
    let variant = format!("{error:?}");
    let variant = variant.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    format!("{variant} {:.60}", error.source().map(ToString::to_string).unwrap_or_default())
}

/// An image's manifest and configuration.
fn documents() -> (Blob, Blob) {
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "config": {"Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"a"), Digest::of(b"b")]}, "history": []});
    let config = Blob::new(media_type::OCI_CONFIG, config.to_string());
    let layer = |name: &[u8]| serde_json::json!({"mediaType": media_type::OCI_LAYER_GZIP, "digest": Digest::of(name), "size": 1});
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor, "layers": [layer(b"a"), layer(b"b")]});
    (Blob::new(media_type::OCI_MANIFEST, manifest.to_string()), config)
}

#[test]
fn the_metadata_of_a_disk_is_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (manifest, config) = documents();
    let image = Image::assemble(
        "name".parse().unwrap(),
        Vec::new(),
        manifest,
        config,
        &"linux/amd64".parse().unwrap(),
    );
    let image = image.unwrap();
    std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
    std::fs::create_dir_all(directory.path().join("snapshots/1/fs")).unwrap();
    for blob in [&image.manifest, &image.config] {
        let name = format!("blobs/sha256/{}", blob.descriptor.digest.hex());
        std::fs::write(directory.path().join(name), &blob.bytes).unwrap();
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": media_type::OCI_MANIFEST, "digest": image.manifest.descriptor.digest,
         "size": image.manifest.descriptor.size, "platform": {"os": "linux", "architecture": "amd64"},
         "annotations": {"io.containerd.image.name": "docker.io/library/name:latest"}},
    ]});
    let lines = image.layers.iter().map(|layer| format!("{} snapshots/1/fs 0123\n", layer.chain_id));
    // Both files in one input, apart by a zero byte.
    let seed = format!("{index}\0{}", lines.collect::<String>()).into_bytes();
    let mut read = |input: &[u8]| {
        let mut parts = input.splitn(2, |byte| *byte == 0);
        for file in ["index.json", "snapshots.metadata"] {
            std::fs::write(directory.path().join(file), parts.next().unwrap_or_default()).unwrap();
        }
        match CacheDisk::read(directory.path()) {
            Ok(disk) => {
                let inside =
                    |path: &std::path::PathBuf| path.starts_with("snapshots") && path.ends_with("fs");
                assert!(disk.layers.values().all(inside), "{:?}", disk.layers);
                format!("{} images, {} layers", disk.images.len(), disk.layers.len())
            }
            Err(error) => kind_of(&error),
        }
    };
    assert_eq!(read(&seed), "1 images, 2 layers");
    Target { name: "metadata", corpus: super::CORPUS, seeds: vec![seed], mend: &|_, _| {}, read: &mut read }
        .run();
}
