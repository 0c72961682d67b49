//! The fuzz target: docker archives. A short run is part of the tests; `cargo xtask fuzz` runs longer.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use larder_core::{Digest, Platform, media_type};
use larder_fuzz::tar::{headers, seal};
use larder_fuzz::{Mutator, Target};
use serde_json::json;

use crate::archive::{Archive, ArchiveError};

/// Where the inputs are that are tried in every run: `TARGET/`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
/// What a gzip stream of no bytes looks like.
const EMPTY_GZIP: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn docker_archives_are_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive.tar");
    let file = File::create(&path).unwrap();
    let platform: Platform = "linux/amd64".parse().unwrap();
    let mut read = |input: &[u8]| {
        file.write_all_at(input, 0).unwrap();
        file.set_len(input.len() as u64).unwrap();
        let (images, spans) = match Archive::open(&path).and_then(|archive| archive.images(&platform)) {
            Ok(found) => found,
            Err(error) => return refused(&error),
        };
        for image in &images {
            for layer in &image.layers {
                let extent = spans.extent(&layer.descriptor).unwrap();
                assert_eq!(extent.length, layer.descriptor.size);
                assert!(extent.offset + extent.length <= input.len() as u64);
                extent.chunks().for_each(|chunk| assert!(!chunk.unwrap().is_empty()));
            }
        }
        let layers = images.iter().map(|image| image.layers.len()).max();
        format!("{:?} of {:?}", images.len().checked_ilog2(), layers.and_then(usize::checked_ilog2))
    };
    Target { name: "archive", corpus: CORPUS, seeds: seeds(), mend: &mend, read: &mut read }.run();
}

/// The error's variant, and what the parser said.
fn refused(error: &ArchiveError) -> String {
    let told = error.to_string();
    assert_eq!(told.lines().count(), 1, "{told:?}");
    let variant = format!("{error:?}");
    let variant = variant.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    // What follows is mostly of the input.
    format!("{variant} {:.40}", source.split(": ").next().unwrap_or_default())
}

#[expect(clippy::ptr_arg, reason = "the signature of every target's mender")]
fn mend(input: &mut Vec<u8>, mutator: &mut Mutator) {
    if mutator.0.u32(0..16) > 0 {
        let headers = headers(input);
        seal(input, &headers);
    }
}

/// As docker writes them since version 25, and as it did before.
fn seeds() -> Vec<Vec<u8>> {
    let layer = b"layer".as_slice();
    let config = |layers: &[&[u8]]| {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        config.to_string().into_bytes()
    };
    let saved = |config: &str, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": ["app:1", "host.example/team/app:2"], "Layers": layers}])
            .to_string()
    };
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let (new, old) = (config(&[layer, b""]), config(&[layer, layer]));
    let newer = archive(&[
        (&blob(layer), layer),
        (&blob(&EMPTY_GZIP), &EMPTY_GZIP),
        (&blob(&new), &new),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        (
            "index.json",
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX}).to_string().as_bytes(),
        ),
        ("manifest.json", saved(&blob(&new), &[&blob(layer), &blob(&EMPTY_GZIP)]).as_bytes()),
    ]);
    let older = archive(&[
        ("one/layer.tar", layer),
        ("two/layer.tar", b"-> ../one/layer.tar"),
        ("config.json", &old),
        ("manifest.json", saved("config.json", &["one/layer.tar", "two/layer.tar"]).as_bytes()),
    ]);
    vec![newer, older]
}

/// An archive of files, and of links where the content says `-> `.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = content.strip_prefix(b"-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, path, std::str::from_utf8(target).unwrap()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, *content).unwrap();
        }
    }
    archive.into_inner().unwrap()
}
