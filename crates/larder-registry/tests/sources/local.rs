//! OCI layouts and docker archives, made by the tests.

use std::fs;
use std::io::Read;
use std::path::Path;

use larder_core::{Blob, Image, media_type};
use larder_registry::{ArchiveError, BlobError, Client, ImageSpec, LayoutError, ResolveError, Resolved};
use serde_json::{Value, json};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::fake::{Sample, amd64, chain, client, index};

async fn resolve(client: &Client, spec: &str) -> Result<Vec<Resolved>, ResolveError> {
    client.resolve(&spec.parse::<ImageSpec>().unwrap(), &amd64()).await
}

async fn one(spec: &str) -> Result<Image, ResolveError> {
    let mut all = resolve(&client("{}"), spec).await?;
    assert_eq!(all.len(), 1);
    Ok(all.remove(0).image)
}

async fn read_layer(client: &Client, resolved: &Resolved) -> std::io::Result<Vec<u8>> {
    let mut reader = client.open(&resolved.origin, &resolved.image.layers[0].descriptor)?;
    let read = move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn put(dir: &Path, blob: &Blob) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(blob.descriptor.digest.hex()), &blob.bytes).unwrap();
}

/// A layout in `DIR/images`, with `entries` in its index.
fn layout(blobs: &[&Blob], entries: &[Value]) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("images");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    fs::write(root.join("index.json"), json!({"schemaVersion": 2, "manifests": entries}).to_string())
        .unwrap();
    for blob in blobs {
        put(&root, blob);
    }
    let spec = format!("oci:{}", root.display());
    (dir, spec)
}

fn entry(blob: &Blob, ref_name: &str) -> Value {
    let mut entry = serde_json::to_value(&blob.descriptor).unwrap();
    if !ref_name.is_empty() {
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": ref_name});
    }
    entry
}

#[tokio::test]
async fn the_only_image_of_a_layout_is_found_named_and_read() {
    let sample = Sample::new(vec![1; 1_000_000]);
    let (_dir, spec) = layout(&sample.blobs(), &[entry(&sample.manifest, "v1")]);
    let client = client("{}");
    let resolved = resolve(&client, &spec).await.unwrap().remove(0);
    assert_eq!(resolved.image.reference.to_string(), "docker.io/library/images:v1");
    assert_eq!(resolved.image.manifest, sample.manifest);
    assert!(read_layer(&client, &resolved).await.unwrap() == sample.layer.bytes);
    let named = one(&format!("ghcr.io/a/b:2={spec}:v1")).await.unwrap();
    assert_eq!(named.reference.to_string(), "ghcr.io/a/b:2");
}

#[tokio::test]
async fn a_tag_chooses_among_several_images() {
    let (first, second) = (Sample::new(vec![1]), Sample::new(vec![2]));
    let blobs = [first.blobs(), second.blobs()].concat();
    let entries = [entry(&first.manifest, "v1"), entry(&second.manifest, "ghcr.io/a/b:v2")];
    let (_dir, spec) = layout(&blobs, &entries);
    let image = one(&format!("{spec}:ghcr.io/a/b:v2")).await.unwrap();
    assert_eq!((image.manifest, image.reference.to_string()), (second.manifest, "ghcr.io/a/b:v2".to_owned()));
    let error = one(&spec).await.unwrap_err();
    assert!(error.to_string().ends_with("ghcr.io/a/b:v2, v1"), "{error}");
    let error = one(&format!("{spec}:v3")).await.unwrap_err();
    assert!(matches!(error, ResolveError::Layout(LayoutError::NoSuchTag { .. })), "{error}");
}

#[tokio::test]
async fn a_layout_leads_through_an_index_or_names_platforms_itself() {
    let sample = Sample::new(vec![1]);
    let other = Blob::new(media_type::OCI_MANIFEST, "{}");
    let inner = index(&[(&other, Some("linux/arm64")), (&sample.manifest, Some("linux/amd64"))]);
    let (_dir, spec) = layout(&[&sample.blobs()[..], &[&inner]].concat(), &[entry(&inner, "v1")]);
    assert_eq!(one(&spec).await.unwrap().indexes, [inner]);

    let per_platform = [(&other, "arm64"), (&sample.manifest, "amd64")].map(|(blob, architecture)| {
        let mut entry = entry(blob, "v1");
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    });
    let (_dir, spec) = layout(&sample.blobs(), &per_platform);
    let image = one(&format!("{spec}:v1")).await.unwrap();
    assert_eq!((image.indexes, image.manifest), (vec![], sample.manifest.clone()));

    let (_dir, spec) = layout(&sample.blobs(), &per_platform[..1]);
    assert!(one(&spec).await.is_err());
}

#[tokio::test]
async fn what_is_wrong_with_a_layout_is_said() {
    let sample = Sample::new(vec![1; 10]);
    let dir = tempfile::tempdir().unwrap();
    let error = one(&format!("oci:{}", dir.path().display())).await.unwrap_err();
    assert!(chain(&error).contains("oci-layout: No such file"), "{}", chain(&error));

    let (dir, spec) = layout(&sample.blobs(), &[entry(&sample.manifest, "v1")]);
    let tampered = Blob { bytes: vec![2; 10].into(), ..sample.layer.clone() };
    put(&dir.path().join("images"), &tampered);
    let client = client("{}");
    let resolved = resolve(&client, &spec).await.unwrap().remove(0);
    let error = read_layer(&client, &resolved).await.unwrap_err();
    assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(BlobError::Digest { .. })), "{error}");

    let (_dir, spec) = layout(&[&sample.manifest, &sample.config], &[entry(&sample.manifest, "v1")]);
    let resolved = resolve(&client, &spec).await.unwrap().remove(0);
    let error = read_layer(&client, &resolved).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);

    let (_dir, spec) = layout(&sample.blobs(), &[entry(&sample.manifest, "No Tag")]);
    let error = one(&spec).await.unwrap_err();
    assert!(error.to_string().contains("REF=oci:DIR:TAG"), "{error}");
    let (_dir, spec) = layout(&[], &[]);
    assert!(matches!(one(&spec).await, Err(ResolveError::Layout(LayoutError::Empty(_)))));
}

/// Builds a tar: files with their content, and symlinks with their target.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn file(mut self, path: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    fn symlink(mut self, path: &str, target: &str) -> Self {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(EntryType::Symlink);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    fn save(self, dir: &TempDir) -> String {
        let path = dir.path().join("saved.tar");
        fs::write(&path, self.0.into_inner().unwrap()).unwrap();
        format!("docker-archive:{}", path.display())
    }
}

fn saved(config: &str, tags: &Value, layers: &[&str]) -> Value {
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}

fn manifest(images: &[Value]) -> Vec<u8> {
    serde_json::to_vec(images).unwrap()
}

#[tokio::test]
async fn every_name_of_every_image_of_an_archive_is_found() {
    let (first, second) = (Sample::new(vec![1; 700_000]), Sample::new(vec![2; 10]));
    let images = [
        saved("a.json", &json!(["a:1", "ghcr.io/x/a:2"]), &["a/layer.tar"]),
        saved("b.json", &json!(["b"]), &["b/layer.tar"]),
        saved("a.json", &json!(["c:1"]), &["c/layer.tar"]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let spec = Tar::new()
        .file("a/layer.tar", &first.layer.bytes)
        .file("a.json", &first.config.bytes)
        .file("b/layer.tar", &second.layer.bytes)
        .file("b.json", &second.config.bytes)
        .symlink("c/layer.tar", "../a/layer.tar")
        .file("manifest.json", &manifest(&images))
        .save(&dir);
    let client = client("{}");
    let all = resolve(&client, &spec).await.unwrap();
    let names: Vec<_> = all.iter().map(|resolved| resolved.image.reference.to_string()).collect();
    let expected =
        ["docker.io/library/a:1", "ghcr.io/x/a:2", "docker.io/library/b:latest", "docker.io/library/c:1"];
    assert_eq!(names, expected);
    assert_eq!(all[0].image.config, first.config);
    assert_eq!(all[0].image.manifest, all[3].image.manifest);
    assert_eq!(all[0].image.layers[0].descriptor.digest, first.layer.descriptor.digest);
    assert!(read_layer(&client, &all[3]).await.unwrap() == first.layer.bytes);
    assert!(read_layer(&client, &all[2]).await.unwrap() == second.layer.bytes);
    let again = resolve(&client, &spec).await.unwrap();
    assert_eq!(again[0].image, all[0].image);
}

#[tokio::test]
async fn a_compressed_layer_of_an_archive_has_the_digest_of_its_bytes() {
    let sample = Sample::new(vec![1; 10]);
    let gzip = Blob::new(media_type::OCI_LAYER_GZIP, [vec![0x1f, 0x8b], vec![0; 600_000]].concat());
    let name = format!("blobs/sha256/{}", gzip.descriptor.digest.hex());
    for path in ["x/layer.tar", &name] {
        let dir = tempfile::tempdir().unwrap();
        let spec = Tar::new()
            .file(path, &gzip.bytes)
            .file("c.json", &sample.config.bytes)
            .file("manifest.json", &manifest(&[saved("c.json", &json!(["a"]), &[path])]))
            .save(&dir);
        let client = client("{}");
        let resolved = resolve(&client, &spec).await.unwrap().remove(0);
        assert_eq!(resolved.image.layers[0].descriptor, gzip.descriptor, "{path}");
        assert!(read_layer(&client, &resolved).await.unwrap() == gzip.bytes);
    }
}

#[tokio::test]
async fn a_layer_that_is_not_the_one_of_its_diff_id_is_found_out() {
    let sample = Sample::new(vec![1; 10]);
    let dir = tempfile::tempdir().unwrap();
    let spec = Tar::new()
        .file("layer.tar", &[2; 10])
        .file("c.json", &sample.config.bytes)
        .file("manifest.json", &manifest(&[saved("c.json", &json!(["a"]), &["layer.tar"])]))
        .save(&dir);
    let client = client("{}");
    let resolved = resolve(&client, &spec).await.unwrap().remove(0);
    let error = read_layer(&client, &resolved).await.unwrap_err();
    assert!(matches!(error.get_ref().unwrap().downcast_ref(), Some(BlobError::Digest { .. })), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_an_archive_is_said() {
    let sample = Sample::new(vec![1; 10]);
    let good = |tags: &Value, layers: &[&str]| manifest(&[saved("c.json", tags, layers)]);
    let tar = || Tar::new().file("c.json", &sample.config.bytes).file("layer.tar", &sample.layer.bytes);
    let outside = tempfile::NamedTempFile::new().unwrap();
    let outside = outside.path().to_str().unwrap();
    let table = [
        (tar(), "has no manifest.json"),
        (tar().file("manifest.json", b"{"), "cannot read \"manifest.json\""),
        (tar().file("manifest.json", b"[]"), "has no image"),
        (tar().file("manifest.json", &good(&json!(null), &["layer.tar"])), "has no name"),
        (tar().file("manifest.json", &good(&json!(["A b"]), &["layer.tar"])), "not a repository name"),
        (tar().file("manifest.json", &good(&json!(["a"]), &["none.tar"])), "has no file \"none.tar\""),
        (tar().file("manifest.json", &good(&json!(["a"]), &[outside])), "has no file"),
        (
            tar().symlink("l", outside).file("manifest.json", &good(&json!(["a"]), &["l"])),
            "has no file \"l\"",
        ),
        (tar().file("manifest.json", &good(&json!(["a"]), &[])), "has 0 layers"),
    ];
    for (tar, message) in table {
        let dir = tempfile::tempdir().unwrap();
        let error = one(&tar.save(&dir)).await.unwrap_err();
        assert!(chain(&error).contains(message), "{message}: {}", chain(&error));
    }
}

#[tokio::test]
async fn a_compressed_or_truncated_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar.gz");
    fs::write(&path, [0x1f, 0x8b, 8, 0]).unwrap();
    let error = one(&format!("docker-archive:{}", path.display())).await.unwrap_err();
    assert!(error.to_string().contains("unpack it first (gunzip "), "{error}");

    let spec = Tar::new().file("layer.tar", &vec![1; 100_000]).save(&dir);
    let path = spec.strip_prefix("docker-archive:").unwrap();
    fs::File::options().write(true).open(path).unwrap().set_len(50_000).unwrap();
    let error = one(&spec).await.unwrap_err();
    let ResolveError::Archive(ArchiveError::Truncated { entry, .. }) = error else { panic!("{error}") };
    assert_eq!(entry, "layer.tar");
}
