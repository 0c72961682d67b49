//! The files of a cache disk besides its layers: which images and layers it holds, as GKE and as OCI tools read it.
//!
//! Writing is in [`write`], from values in memory; reading is in [`CacheDisk::read`], from a mounted disk.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use larder_core::{
    Blob, ChainId, Descriptor, DiffId, Digest, Image, ImageError, ImageRef, Index, IndexEntry, Manifest,
    ReferenceError, media_type,
};

/// The largest metadata file that is read; the index of 10,000 images is about 5 MiB.
const MAX_METADATA: u64 = 64 << 20;
/// The largest index, manifest or configuration that is read, as containerd limits them.
const MAX_BLOB: u64 = 8 << 20;

const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const OCI_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The artifact that ties layers to their listings: one OCI layer a listing, annotated with its chain ID.
const LISTINGS_ARTIFACT: &str = "application/vnd.larder.listings.v1+json";
const LISTING: &str = "application/vnd.larder.listing.v1";
const CHAIN_ID: &str = "dev.larder.chain-id";
const DIFF_ID: &str = "dev.larder.diff-id";

/// What a cache disk holds, read from its metadata.
#[derive(Clone, Debug)]
pub struct CacheDisk {
    /// The digest of `index.json`.
    pub id: Digest,
    /// Every image, with all its blobs but the layers'.
    pub images: Vec<Image>,
    /// Where each layer is, relative to the disk's root: `snapshots/<N>/fs`.
    pub layers: BTreeMap<ChainId, PathBuf>,
}

/// A layer as the metadata names it.
#[derive(Clone, Debug)]
pub(crate) struct LayerRecord {
    pub(crate) chain_id: ChainId,
    pub(crate) diff_id: DiffId,
    /// The number of its directory, from 1.
    pub(crate) number: usize,
    pub(crate) listing: Blob,
}

/// A file of the disk's metadata: its path and content.
pub(crate) type MetadataFile = (String, Bytes);

/// Why a directory is not a cache disk that Larder can use.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any that Larder writes.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// `index.json` cannot be understood.
    #[error("{path} is not an OCI index")]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A blob's content is not what its name says.
    #[error("{path} does not have the content that its name promises")]
    Digest {
        /// The blob.
        path: PathBuf,
    },
    /// An image's name cannot be read.
    #[error("index.json names an image that cannot be read")]
    Name(#[from] ReferenceError),
    /// An image's blobs do not fit together.
    #[error("image {image} on the disk")]
    Image {
        /// Its name.
        image: String,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// A line of `snapshots.metadata` is not `CHAIN-ID snapshots/N/fs [md5]`.
    #[error("snapshots.metadata line {line}: {text:?} is not a chain ID and the directory of a layer")]
    SnapshotLine {
        /// Counted from 1.
        line: usize,
        /// As it stands there, shortened.
        text: String,
    },
    /// An image's layer is not on the disk.
    #[error("image {image}: layer {chain_id} is not on the disk")]
    MissingLayer {
        /// Its name.
        image: String,
        /// The layer.
        chain_id: ChainId,
    },
}

impl CacheDisk {
    /// Reads what the disk mounted at `root` holds; every index, manifest and configuration is checked against its digest,
    /// and every layer's directory is there.
    pub fn read(root: &Path) -> Result<Self, LayoutError> {
        let path = root.join("index.json");
        let bytes = read_limited(&path, MAX_METADATA)?;
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|source| LayoutError::Index { path, source })?;
        let layers = parse_snapshots(&read_limited(&root.join("snapshots.metadata"), MAX_METADATA)?)?;
        let images = index
            .manifests
            .iter()
            .filter_map(|entry| Some((entry.annotations.get(CONTAINERD_NAME)?, entry)))
            .map(|(name, entry)| read_image(root, &name.parse()?, entry))
            .collect::<Result<Vec<_>, _>>()?;
        for image in &images {
            let missing = |layer: &&larder_core::Layer| {
                !layers.get(&layer.chain_id).is_some_and(|directory| root.join(directory).is_dir())
            };
            if let Some(layer) = image.layers.iter().find(missing) {
                return Err(LayoutError::MissingLayer {
                    image: image.reference.to_string(),
                    chain_id: layer.chain_id,
                });
            }
        }
        Ok(Self { id: Digest::of(&bytes), images, layers })
    }
}

fn read_image(root: &Path, reference: &ImageRef, entry: &IndexEntry) -> Result<Image, LayoutError> {
    let named = |source| LayoutError::Image { image: reference.to_string(), source };
    let mut blob = read_blob(root, &entry.descriptor)?;
    let mut indexes = Vec::new();
    let platform = entry.platform.clone().unwrap_or_else(larder_core::Platform::host);
    while media_type::is_index(&blob.descriptor.media_type) {
        let next =
            Index::parse(&blob).and_then(|index| Ok(index.select(&blob, &platform)?.descriptor.clone()));
        let next = read_blob(root, &next.map_err(named)?)?;
        indexes.push(std::mem::replace(&mut blob, next));
    }
    let config = Manifest::parse(&blob).map_err(named)?.config;
    let config = read_blob(root, &config)?;
    Image::assemble(reference.clone(), indexes, blob, config, &platform).map_err(named)
}

fn read_blob(root: &Path, descriptor: &Descriptor) -> Result<Blob, LayoutError> {
    let path = root.join(blob_path(descriptor.digest));
    let bytes = read_limited(&path, MAX_BLOB)?;
    let blob = Blob::new(&descriptor.media_type, bytes);
    if blob.descriptor == *descriptor { Ok(blob) } else { Err(LayoutError::Digest { path }) }
}

fn read_limited(path: &Path, limit: u64) -> Result<Bytes, LayoutError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| LayoutError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(LayoutError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes.into())
}

/// Reads `snapshots.metadata`: a chain ID and a directory a line, with an md5 that Larder does not need.
fn parse_snapshots(bytes: &[u8]) -> Result<BTreeMap<ChainId, PathBuf>, LayoutError> {
    let text = String::from_utf8_lossy(bytes);
    let parse = |(number, line): (usize, &str)| {
        let mut fields = line.split(' ');
        let chain_id = fields.next().and_then(|field| field.parse().ok());
        let directory = fields.next().filter(|field| is_layer_directory(field));
        match (chain_id, directory) {
            (Some(chain_id), Some(directory)) => Ok((chain_id, PathBuf::from(directory))),
            _ => Err(LayoutError::SnapshotLine { line: number + 1, text: line.chars().take(120).collect() }),
        }
    };
    text.lines().enumerate().map(parse).collect()
}

/// Exactly `snapshots/<N>/fs`: nothing that could lead elsewhere.
fn is_layer_directory(text: &str) -> bool {
    let number = text.strip_prefix("snapshots/").and_then(|rest| rest.strip_suffix("/fs"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The directory of layer `number`, relative to the disk's root.
pub(crate) fn layer_directory(number: usize) -> String {
    format!("snapshots/{number}/fs")
}

/// Every metadata file of a disk with `images` and `layers`, and the disk's id.
pub(crate) fn write(images: &[Image], layers: &[LayerRecord]) -> (Vec<MetadataFile>, Digest) {
    let empty = Blob::new(media_type::OCI_EMPTY, "{}");
    let listings = listings_manifest(&empty, layers);
    let index = index_json(images, &listings);
    let id = Digest::of(&index);
    let image_blobs =
        images.iter().flat_map(|image| image.indexes.iter().chain([&image.manifest, &image.config]));
    let listing_blobs = layers.iter().map(|layer| &layer.listing);
    let blobs: BTreeMap<String, Bytes> = image_blobs
        .chain(listing_blobs)
        .chain([&empty, &listings])
        .map(|blob| (blob_path(blob.descriptor.digest), blob.bytes.clone()))
        .collect();
    let mut files = vec![
        ("snapshots.metadata".to_owned(), snapshots_metadata(layers)),
        ("images.metadata".to_owned(), images_metadata(images)),
        ("oci-layout".to_owned(), Bytes::from_static(OCI_LAYOUT.as_bytes())),
        ("index.json".to_owned(), index),
    ];
    files.extend(blobs);
    (files, id)
}

/// In the order of the chain IDs, as the reference builder writes it.
fn snapshots_metadata(layers: &[LayerRecord]) -> Bytes {
    let lines: BTreeMap<ChainId, String> =
        layers.iter().map(|layer| (layer.chain_id, layer_directory(layer.number))).collect();
    let lines: Vec<String> =
        lines.iter().map(|(chain_id, directory)| format!("{chain_id} {directory}\n")).collect();
    lines.concat().into()
}

/// The table that `ctr images ls` prints; SIZE is that of all blobs as a registry holds them.
fn images_metadata(images: &[Image]) -> Bytes {
    let mut rows =
        vec!["REF\tTYPE\tDIGEST\tSIZE\tPLATFORMS\tLABELS".split('\t').map(str::to_owned).collect()];
    rows.extend(images.iter().map(|image| {
        let target = &image.target().descriptor;
        let own = [&image.manifest, &image.config].map(|blob| blob.descriptor.size);
        let size = own.into_iter().chain(image.layers.iter().map(|layer| layer.descriptor.size)).sum();
        vec![
            image.reference.to_string(),
            target.media_type.clone(),
            target.digest.to_string(),
            larder_core::ByteSize(size).to_string(),
            image.platform.to_string(),
            "-".to_owned(),
        ]
    }));
    table(&rows).into()
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _infallible = write!(text, "{cell:width$} ");
        }
        text.push('\n');
    }
    text
}

fn index_json(images: &[Image], listings: &Blob) -> Bytes {
    let image_entries = images.iter().map(|image| {
        let name = image.reference.to_string();
        let short = image.reference.tag().map_or_else(|| name.clone(), str::to_owned);
        IndexEntry {
            descriptor: image.target().descriptor.clone(),
            platform: Some(image.platform.clone()),
            annotations: [(CONTAINERD_NAME.to_owned(), name), (OCI_REF_NAME.to_owned(), short)].into(),
        }
    });
    let listings_entry =
        IndexEntry { descriptor: listings.descriptor.clone(), platform: None, annotations: BTreeMap::new() };
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: image_entries.chain([listings_entry]).collect(),
    };
    json(&index)
}

fn listings_manifest(empty: &Blob, layers: &[LayerRecord]) -> Blob {
    let entry = |layer: &LayerRecord| IndexEntry {
        descriptor: layer.listing.descriptor.clone(),
        platform: None,
        annotations: [
            (CHAIN_ID.to_owned(), layer.chain_id.to_string()),
            (DIFF_ID.to_owned(), layer.diff_id.to_string()),
        ]
        .into(),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: Some(LISTINGS_ARTIFACT.to_owned()),
        config: empty.descriptor.clone(),
        layers: layers.iter().map(entry).collect(),
    };
    Blob::new(media_type::OCI_MANIFEST, json(&manifest))
}

/// A listing as a blob.
pub(crate) fn listing_blob(text: Vec<u8>) -> Blob {
    Blob::new(LISTING, text)
}

#[expect(clippy::expect_used, reason = "strings and numbers under string keys always serialise")]
fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain data serialises").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_layers_own_directory_is_accepted() {
        let chain_id = Digest::of(b"x");
        let good = format!("{chain_id} snapshots/12/fs\n{chain_id} snapshots/3/fs 0123\n");
        assert_eq!(parse_snapshots(good.as_bytes()).unwrap().len(), 1);
        for directory in ["snapshots/../fs", "/snapshots/1/fs", "snapshots/1/fs/..", "snapshots//fs", ""] {
            let line = format!("{chain_id} {directory}\n");
            assert!(matches!(
                parse_snapshots(line.as_bytes()),
                Err(LayoutError::SnapshotLine { line: 1, .. })
            ));
        }
    }
}
