//! Container images made from nothing, without root and without a container tool: tar entries, layers, images, and the
//! forms in which they travel.

mod archive;
mod deb;
mod entry;
mod header;
mod layer;
mod layout;
mod lists;
mod names;
mod product;
mod samples;
mod torture;

pub use deb::package_entries;
pub use entry::{Dialect, Entry};
pub use layer::{Compression, Layer, LayerBuilder};
pub use lists::{access_lists, acl};
pub use product::{product, product_suite};
pub use samples::{busybox, deep};
pub use torture::torture;

use std::collections::BTreeMap;

use larder_core::{Blob, ChainId, Digest, IndexEntry, Platform, media_type};
use serde_json::{Value, json};

/// Puts layers and a configuration together.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    layers: Vec<Layer>,
    platform: Platform,
    process: BTreeMap<&'static str, Value>,
    family: Family,
}

/// Whose media types an image carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The Open Container Initiative's.
    Oci,
    /// Docker's, schema 2; it knows no zstd.
    Docker,
}

/// An image for one platform, complete with its layers.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The configuration.
    pub config: Blob,
    /// What it runs on.
    pub platform: Platform,
    /// Layers, base first.
    pub layers: Vec<Layer>,
}

/// Images for several platforms below one index.
#[derive(Clone, Debug)]
pub struct MultiImage {
    /// The index.
    pub index: Blob,
    /// What it points to.
    pub images: Vec<Image>,
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self { layers: Vec::new(), platform: Platform::host(), process: BTreeMap::new(), family: Family::Oci }
    }
}

impl ImageBuilder {
    /// Adds a layer on top.
    pub fn layer(mut self, layer: &Layer) -> Self {
        self.layers.push(layer.clone());
        self
    }

    /// Adds layers on top, the lowest first.
    pub fn layers<'a>(self, layers: impl IntoIterator<Item = &'a Layer>) -> Self {
        layers.into_iter().fold(self, Self::layer)
    }

    /// Sets what it runs on; else this machine's platform.
    pub fn platform(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    /// Sets the media types; else OCI's.
    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Sets the environment, `NAME=value`.
    pub fn env(self, variables: &[&str]) -> Self {
        self.set("Env", json!(variables))
    }

    /// Sets the program that a container runs.
    pub fn entrypoint(self, argv: &[&str]) -> Self {
        self.set("Entrypoint", json!(argv))
    }

    /// Sets the default arguments, or the program where there is no entrypoint.
    pub fn cmd(self, argv: &[&str]) -> Self {
        self.set("Cmd", json!(argv))
    }

    /// Sets the user, and group, that a container's program runs as: `UID[:GID]`.
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    /// Sets labels.
    pub fn labels(self, labels: &[(&str, &str)]) -> Self {
        self.set("Labels", json!(labels.iter().copied().collect::<BTreeMap<_, _>>()))
    }

    /// The image.
    pub fn build(self) -> Image {
        let Self { layers, platform, process, family } = self;
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
        let mut config = json!({
            "created": "2020-01-01T00:00:00Z",
            "os": platform.os,
            "architecture": platform.architecture,
            "config": process,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = json!(variant);
        }
        let config = Blob::new(family.config(), config.to_string());
        let layer_descriptors: Vec<_> = layers.iter().map(|layer| layer.descriptor(family)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": family.manifest(),
            "config": config.descriptor,
            "layers": layer_descriptors,
        });
        Image { manifest: Blob::new(family.manifest(), manifest.to_string()), config, platform, layers }
    }

    fn set(mut self, key: &'static str, value: Value) -> Self {
        self.process.insert(key, value);
        self
    }
}

impl Family {
    fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => media_type::DOCKER_CONFIG,
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }
}

impl Image {
    /// The digest that addresses it.
    pub fn digest(&self) -> Digest {
        self.manifest.descriptor.digest
    }

    /// The digests of its layers' blobs, as a registry serves them.
    pub fn layer_digests(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.digest).collect()
    }

    /// The chain IDs of its layers, base first.
    pub fn chain_ids(&self) -> Vec<ChainId> {
        let below = |below: &mut Option<ChainId>, layer: &Layer| {
            *below = Some(ChainId::of(*below, layer.diff_id));
            *below
        };
        self.layers.iter().scan(None, below).collect()
    }
}

impl MultiImage {
    /// An OCI index of `images`.
    pub fn of(images: Vec<Image>) -> Self {
        let entries: Vec<IndexEntry> = images.iter().map(index_entry).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries });
        Self { index: Blob::new(media_type::OCI_INDEX, index.to_string()), images }
    }
}

fn index_entry(image: &Image) -> IndexEntry {
    IndexEntry {
        descriptor: image.manifest.descriptor.clone(),
        platform: Some(image.platform.clone()),
        annotations: BTreeMap::new(),
    }
}
