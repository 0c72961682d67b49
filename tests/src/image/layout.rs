//! Images on disk as OCI layouts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use larder_core::{Blob, Digest, IndexEntry, media_type};
use serde_json::json;

use super::{Image, MultiImage};

/// The annotation that names a manifest in a layout (OCI image layout, "index.json").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl Image {
    /// Writes (or adds to) the OCI layout in `dir`, where `tag` names it.
    pub fn write_layout(&self, dir: &Path, tag: &str) -> Result<()> {
        self.write_blobs(dir)?;
        add(dir, &self.manifest, tag)
    }

    fn write_blobs(&self, dir: &Path) -> Result<()> {
        for layer in &self.layers {
            let place = place(dir, layer.digest)?;
            fs::copy(layer.path(), &place).with_context(|| format!("write {}", place.display()))?;
        }
        put(dir, &self.config)?;
        put(dir, &self.manifest)
    }
}

impl MultiImage {
    /// Writes (or adds to) the OCI layout in `dir`, where `tag` names the index.
    pub fn write_layout(&self, dir: &Path, tag: &str) -> Result<()> {
        self.images.iter().try_for_each(|image| image.write_blobs(dir))?;
        put(dir, &self.index)?;
        add(dir, &self.index, tag)
    }
}

fn add(dir: &Path, target: &Blob, tag: &str) -> Result<()> {
    let path = dir.join("index.json");
    let mut entries: Vec<IndexEntry> = match fs::read(&path) {
        Ok(bytes) => larder_core::Index::parse(&Blob::new(media_type::OCI_INDEX, bytes))?.manifests,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let annotations = BTreeMap::from([(REF_NAME.to_owned(), tag.to_owned())]);
    entries.push(IndexEntry { descriptor: target.descriptor.clone(), platform: None, annotations });
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
    fs::write(&path, index.to_string()).with_context(|| format!("write {}", path.display()))?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).context("write oci-layout")
}

fn put(dir: &Path, blob: &Blob) -> Result<()> {
    let place = place(dir, blob.descriptor.digest)?;
    fs::write(&place, &blob.bytes).with_context(|| format!("write {}", place.display()))
}

fn place(dir: &Path, digest: Digest) -> Result<std::path::PathBuf> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("create {}", blobs.display()))?;
    Ok(blobs.join(digest.hex()))
}
