//! What a reference resolved to: the hand-off from the sources to the disk, and from the disk to a node.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ChainId, DiffId, Digest, ImageRef, Platform, media_type};

/// A pointer to content: what it is, its digest and its size in bytes (OCI image spec, "Content Descriptors").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type; Docker's index entries and OCI's always have one.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
}

/// An entry of an index: a descriptor, the platform it serves, and its annotations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexEntry {
    /// Where the manifest is.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What it runs on; absent for artifacts and in a layout's top index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free-form properties, such as the reference name in a layout.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The fields of an OCI index or Docker manifest list that Larder reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Optional in OCI, required in Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// One entry a platform.
    pub manifests: Vec<IndexEntry>,
}

/// The fields of an image manifest that Larder reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Optional in OCI, required in Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the manifest is of, where it is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image's configuration.
    pub config: Descriptor,
    /// Layers, base first.
    pub layers: Vec<IndexEntry>,
}

/// The fields of an image configuration that Larder reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// What the image runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// The layers' identities.
    pub rootfs: RootFs,
}

/// The `rootfs` of an image configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers, base first.
    pub diff_ids: Vec<DiffId>,
}

/// Content that is held in memory: an index, a manifest or a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub descriptor: Descriptor,
    /// The content, exactly as its digest counts it.
    pub bytes: Bytes,
}

impl Blob {
    /// A blob of `bytes` as `media_type`.
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        Self { descriptor, bytes }
    }
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob as a registry holds it, compressed or not.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// The layers below, as one identity; none for a base.
    pub parent: Option<ChainId>,
}

/// An image for one platform, with every blob but its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The normalised reference that was asked for.
    pub reference: ImageRef,
    /// The indexes between the reference and the manifest, outermost first; empty where it names a manifest.
    pub indexes: Vec<Blob>,
    /// The image's manifest.
    pub manifest: Blob,
    /// The image's configuration.
    pub config: Blob,
    /// What the image runs on.
    pub platform: Platform,
    /// Layers, base first.
    pub layers: Vec<Layer>,
}

/// Why blobs do not make an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not JSON, or a required field is missing or of another kind.
    #[error("{what} {digest} cannot be read")]
    Json {
        /// `index`, `manifest` or `configuration`.
        what: &'static str,
        /// Of the blob.
        digest: Digest,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// Docker's first image format, which no current runtime runs.
    #[error("manifest {0} has schema version 1, which no current runtime runs: push the image anew")]
    SchemaOne(Digest),
    /// A manifest's `schemaVersion` that nobody has defined.
    #[error("manifest {0} has schema version {1}, expected 2")]
    SchemaVersion(Digest, u32),
    /// The manifest is of an artifact that no runtime runs.
    #[error("manifest {digest} is not a container image: its {what} has media type {media_type:?}")]
    NotAnImage {
        /// Of the manifest.
        digest: Digest,
        /// `configuration` or `layer`.
        what: &'static str,
        /// What it has instead.
        media_type: String,
    },
    /// A layer's bytes are not in any registry.
    #[error("manifest {manifest} has the foreign layer {layer} ({media_type}), which no registry holds")]
    ForeignLayer {
        /// The manifest's digest.
        manifest: Digest,
        /// The layer's digest.
        layer: Digest,
        /// As the manifest says.
        media_type: String,
    },
    /// Manifest and configuration disagree.
    #[error("manifest {manifest} has {layers} layers, but its configuration lists {diff_ids}")]
    LayerCount {
        /// Of the manifest.
        manifest: Digest,
        /// Layers in the manifest.
        layers: usize,
        /// Diff IDs in the configuration.
        diff_ids: usize,
    },
    /// An index has nothing for the platform.
    #[error("no image for {wanted} in index {digest}, which has {available}")]
    NoPlatform {
        /// Of the index.
        digest: Digest,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is, separated by commas.
        available: String,
    },
    /// A manifest without an index is for another platform.
    #[error("manifest {digest} is for {found}, not for {wanted}")]
    OtherPlatform {
        /// Of the manifest.
        digest: Digest,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What it is for.
        found: Box<Platform>,
    },
}

impl Index {
    /// Reads an index from its blob.
    pub fn parse(blob: &Blob) -> Result<Self, ImageError> {
        parse("index", blob)
    }

    /// The entry for `wanted`; the first one that serves it.
    pub fn select(&self, blob: &Blob, wanted: &Platform) -> Result<&IndexEntry, ImageError> {
        let serves =
            |entry: &&IndexEntry| entry.platform.as_ref().is_some_and(|platform| platform.serves(wanted));
        self.manifests.iter().find(serves).ok_or_else(|| {
            let platforms = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            let available: Vec<String> = platforms.map(ToString::to_string).collect();
            ImageError::NoPlatform {
                digest: blob.descriptor.digest,
                wanted: Box::new(wanted.clone()),
                available: if available.is_empty() { "none".to_owned() } else { available.join(", ") },
            }
        })
    }
}

impl Manifest {
    /// Reads an image manifest from its blob: refuses schema 1 and artifacts that are no images.
    pub fn parse(blob: &Blob) -> Result<Self, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            schema_version: u32,
        }
        let digest = blob.descriptor.digest;
        match parse::<Version>("manifest", blob)?.schema_version {
            1 => return Err(ImageError::SchemaOne(digest)),
            2 => {}
            other => return Err(ImageError::SchemaVersion(digest, other)),
        }
        let manifest: Self = parse("manifest", blob)?;
        let not_an_image = |what, media_type: &str| {
            Err(ImageError::NotAnImage { digest, what, media_type: media_type.to_owned() })
        };
        let config = manifest.config.media_type.as_str();
        if !matches!(config, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
            return not_an_image("configuration", config);
        }
        let foreign = |layer: &&IndexEntry| media_type::is_foreign_layer(&layer.descriptor.media_type);
        if let Some(IndexEntry { descriptor, .. }) = manifest.layers.iter().find(foreign) {
            let (layer, media_type) = (descriptor.digest, descriptor.media_type.clone());
            return Err(ImageError::ForeignLayer { manifest: digest, layer, media_type });
        }
        match manifest.layers.iter().find(|layer| !media_type::is_layer(&layer.descriptor.media_type)) {
            Some(layer) => not_an_image("layer", &layer.descriptor.media_type),
            None => Ok(manifest),
        }
    }
}

impl Image {
    /// Puts an image together from its blobs, and checks that they belong together.
    pub fn assemble(
        reference: ImageRef,
        indexes: Vec<Blob>,
        manifest: Blob,
        config: Blob,
        wanted: &Platform,
    ) -> Result<Self, ImageError> {
        let parsed = Manifest::parse(&manifest)?;
        let ImageConfig { platform, rootfs } = parse("configuration", &config)?;
        let digest = manifest.descriptor.digest;
        if !platform.serves(wanted) {
            return Err(ImageError::OtherPlatform {
                digest,
                wanted: Box::new(wanted.clone()),
                found: Box::new(platform),
            });
        }
        if parsed.layers.len() != rootfs.diff_ids.len() {
            return Err(ImageError::LayerCount {
                manifest: digest,
                layers: parsed.layers.len(),
                diff_ids: rootfs.diff_ids.len(),
            });
        }
        let mut parent = None;
        let layers = parsed.layers.into_iter().zip(rootfs.diff_ids).map(|(entry, diff_id)| {
            let chain_id = ChainId::of(parent, diff_id);
            let layer = Layer { descriptor: entry.descriptor, diff_id, chain_id, parent };
            parent = Some(chain_id);
            layer
        });
        let layers = layers.collect();
        Ok(Self { reference, indexes, manifest, config, platform, layers })
    }

    /// What the reference resolved to: the outermost index, or the manifest.
    pub fn target(&self) -> &Blob {
        self.indexes.first().unwrap_or(&self.manifest)
    }

    /// Bytes of its layers' blobs, as its manifest has them.
    pub fn blob_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.descriptor.size).fold(0, u64::saturating_add)
    }

    /// The chain ID of the whole image; none for an image without layers.
    pub fn top(&self) -> Option<ChainId> {
        self.layers.last().map(|layer| layer.chain_id)
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, blob: &'a Blob) -> Result<T, ImageError> {
    serde_json::from_slice(&blob.bytes).map_err(|source| ImageError::Json {
        what,
        digest: blob.descriptor.digest,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(architecture: &str, diff_ids: &[DiffId]) -> Blob {
        let json = serde_json::json!({
            "architecture": architecture, "os": "linux", "history": null,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Blob::new(media_type::OCI_CONFIG, json.to_string())
    }

    fn manifest(config: &Blob, layers: &[&str]) -> Blob {
        let layers: Vec<_> = layers
            .iter()
            .map(|media_type| serde_json::json!({"mediaType": media_type, "digest": Digest::of(b"l"), "size": 1}))
            .collect();
        let json = serde_json::json!({"schemaVersion": 2, "config": config.descriptor, "layers": layers});
        Blob::new(media_type::OCI_MANIFEST, json.to_string())
    }

    fn amd64() -> Platform {
        "linux/amd64".parse().unwrap()
    }

    fn assemble(manifest: Blob, config: Blob) -> Result<Image, ImageError> {
        Image::assemble("a".parse().unwrap(), vec![], manifest, config, &amd64())
    }

    #[test]
    fn layers_carry_their_chain() {
        let diff_ids = [DiffId(Digest::of(b"a")), DiffId(Digest::of(b"b"))];
        let config = config("amd64", &diff_ids);
        let manifest = manifest(&config, &[media_type::OCI_LAYER, media_type::OCI_LAYER_ZSTD]);
        let image = assemble(manifest.clone(), config).unwrap();
        let base = ChainId::of(None, diff_ids[0]);
        assert_eq!(image.layers[0].parent, None);
        assert_eq!(image.layers[1].parent, Some(base));
        assert_eq!(image.top(), Some(ChainId::of(Some(base), diff_ids[1])));
        assert_eq!(image.target(), &manifest);
    }

    #[test]
    fn blobs_that_do_not_belong_together_are_refused() {
        let one = [DiffId(Digest::of(b"a"))];
        let amd = config("amd64", &one);
        let errors = [
            assemble(manifest(&amd, &[]), amd.clone()).unwrap_err(),
            assemble(manifest(&amd, &["application/x"]), amd.clone()).unwrap_err(),
            assemble(manifest(&amd, &[media_type::OCI_LAYER]), config("arm64", &one)).unwrap_err(),
            assemble(Blob::new(media_type::OCI_MANIFEST, "{\"schemaVersion\":1}"), amd.clone()).unwrap_err(),
            assemble(Blob::new(media_type::OCI_MANIFEST, "<html>"), amd.clone()).unwrap_err(),
            assemble(
                manifest(&amd, &["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"]),
                amd.clone(),
            )
            .unwrap_err(),
        ];
        assert!(matches!(errors[0], ImageError::LayerCount { layers: 0, diff_ids: 1, .. }));
        assert!(matches!(errors[1], ImageError::NotAnImage { what: "layer", .. }));
        assert!(matches!(errors[2], ImageError::OtherPlatform { .. }));
        assert!(matches!(errors[3], ImageError::SchemaOne(_)));
        assert!(matches!(errors[4], ImageError::Json { what: "manifest", .. }));
        assert!(matches!(errors[5], ImageError::ForeignLayer { .. }));
    }

    #[test]
    fn an_index_names_what_it_has_instead() {
        let json = serde_json::json!({"schemaVersion": 2, "manifests": [
            {"mediaType": media_type::OCI_MANIFEST, "digest": Digest::of(b"m"), "size": 1,
             "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        ]});
        let blob = Blob::new(media_type::OCI_INDEX, json.to_string());
        let index = Index::parse(&blob).unwrap();
        assert!(index.select(&blob, &"linux/arm64".parse().unwrap()).is_ok());
        let error = index.select(&blob, &amd64()).unwrap_err().to_string();
        assert!(error.ends_with("which has linux/arm64/v8"), "{error}");
    }
}
