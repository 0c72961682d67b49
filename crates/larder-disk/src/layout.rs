//! The files of a cache disk besides its layers: which images and layers it holds, as GKE and as OCI tools read it.
//!
//! Writing is in [`write()`], from values in memory; reading is here, from whatever medium.

mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use larder_core::{
    Blob, ChainId, Descriptor, DiffId, Digest, Image, ImageError, ImageRef, Index, IndexEntry, Manifest,
    ReferenceError, media_type,
};

use crate::medium::{Medium, MediumError};
pub(crate) use write::{LayerRecord, images_metadata, index_json, listing_blob, write};

/// What GKE reads: a line a layer.
pub(crate) const SNAPSHOTS: &str = "snapshots.metadata";
/// The table of the images.
pub(crate) const IMAGES: &str = "images.metadata";
/// The files that make the disk an OCI layout.
pub(crate) const OCI_LAYOUT_FILE: &str = "oci-layout";
pub(crate) const INDEX: &str = "index.json";
/// Where blobs are.
pub(crate) const BLOBS: &str = "blobs/sha256";

/// The largest metadata file that is read; the index of 10,000 images is about 5 MiB.
const MAX_METADATA: u64 = 64 << 20;
/// The largest index, manifest or configuration that is read, as containerd limits them.
const MAX_BLOB: u64 = 8 << 20;

/// The content of `oci-layout`.
pub(crate) const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
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

/// Why a directory is not a cache disk that Larder can use.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or what the system said.
        #[source]
        source: Box<MediumError>,
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
    /// The list of the layers' listings cannot be understood.
    #[error("{path} is not the list of the layers' listings")]
    Listings {
        /// The blob.
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
        source: Box<ImageError>,
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

/// A line of `snapshots.metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotLine {
    pub(crate) chain_id: ChainId,
    pub(crate) number: u64,
    /// Relative to the disk's root.
    pub(crate) directory: String,
    /// The reference's checksum, as it stands there.
    pub(crate) md5: Option<String>,
}

impl CacheDisk {
    /// Reads what the disk mounted at `root` holds; every index, manifest and configuration is checked against its digest,
    /// and every layer's directory is there.
    pub fn read(root: &Path) -> Result<Self, LayoutError> {
        Self::on(&Medium::mounted(root))
    }

    /// The same for a disk image, a block device, or a directory where a disk is mounted.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        Self::on(&open(path)?)
    }

    pub(crate) fn on(medium: &Medium) -> Result<Self, LayoutError> {
        let (id, index) = read_index(medium)?;
        let lines = snapshot_lines(&read(medium, SNAPSHOTS)?).collect::<Result<Vec<_>, _>>()?;
        let layers: BTreeMap<ChainId, PathBuf> =
            lines.into_iter().map(|line| (line.chain_id, line.directory.into())).collect();
        let images = image_entries(&index)
            .map(|(name, entry)| read_image(medium, &name.parse()?, entry))
            .collect::<Result<Vec<_>, _>>()?;
        let mut there: BTreeSet<ChainId> = BTreeSet::new();
        for image in &images {
            for chain_id in image.layers.iter().map(|layer| layer.chain_id) {
                if !there.contains(&chain_id) && !has_layer(medium, &layers, chain_id)? {
                    return Err(LayoutError::MissingLayer { image: image.reference.to_string(), chain_id });
                }
                there.insert(chain_id);
            }
        }
        Ok(Self { id, images, layers })
    }
}

/// The file system's UUID follows from the disk's id, so that the same images make the same disk.
pub(crate) fn file_system_uuid(id: Digest) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&id.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes()
}

fn has_layer(
    medium: &Medium,
    layers: &BTreeMap<ChainId, PathBuf>,
    chain_id: ChainId,
) -> Result<bool, LayoutError> {
    let Some(directory) = layers.get(&chain_id).and_then(|directory| directory.to_str()) else {
        return Ok(false);
    };
    medium.has_directory(directory).map_err(failed(directory))
}

/// Opens whatever may hold a disk.
pub(crate) fn open(path: &Path) -> Result<Medium, LayoutError> {
    Medium::open(path).map_err(|source| LayoutError::Read { path: path.to_owned(), source: source.into() })
}

/// A file of the disk's metadata.
pub(crate) fn read(medium: &Medium, path: &str) -> Result<Bytes, LayoutError> {
    medium.read(path, MAX_METADATA).map_err(failed(path))
}

fn failed(path: &str) -> impl FnOnce(MediumError) -> LayoutError {
    let path = PathBuf::from(path);
    move |source| LayoutError::Read { path, source: source.into() }
}

/// The disk's id, and its index.
pub(crate) fn read_index(medium: &Medium) -> Result<(Digest, Index), LayoutError> {
    let bytes = read(medium, INDEX)?;
    let index =
        serde_json::from_slice(&bytes).map_err(|source| LayoutError::Index { path: INDEX.into(), source })?;
    Ok((Digest::of(&bytes), index))
}

/// The entries of an index that are images, by name.
pub(crate) fn image_entries(index: &Index) -> impl Iterator<Item = (&str, &IndexEntry)> {
    let named = |entry| annotation(entry, CONTAINERD_NAME).map(|name| (name, entry));
    index.manifests.iter().filter_map(named)
}

fn annotation<'a>(entry: &'a IndexEntry, key: &str) -> Option<&'a str> {
    entry.annotations.get(key).map(String::as_str)
}

/// Where the listing of a layer is, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListingEntry {
    pub(crate) diff_id: Option<DiffId>,
    pub(crate) listing: Digest,
}

/// What the artifact with the layers' listings names.
pub(crate) type Listings = BTreeMap<ChainId, ListingEntry>;

/// The artifact with the layers' listings, and what it names; none on a disk without it.
pub(crate) fn read_listings(medium: &Medium, index: &Index) -> Result<Option<(Blob, Listings)>, LayoutError> {
    for entry in index.manifests.iter().filter(|entry| annotation(entry, CONTAINERD_NAME).is_none()) {
        let blob = read_blob(medium, &entry.descriptor, MAX_METADATA)?;
        let path = blob_path(blob.descriptor.digest);
        let manifest: Manifest = serde_json::from_slice(&blob.bytes)
            .map_err(|source| LayoutError::Listings { path: path.into(), source })?;
        if manifest.artifact_type.as_deref() == Some(LISTINGS_ARTIFACT) {
            let listed = manifest.layers.iter().filter_map(|entry| {
                let diff_id = annotation(entry, DIFF_ID).and_then(|text| text.parse().ok());
                let listing = ListingEntry { diff_id, listing: entry.descriptor.digest };
                Some((annotation(entry, CHAIN_ID)?.parse().ok()?, listing))
            });
            let listed = listed.collect();
            return Ok(Some((blob, listed)));
        }
    }
    Ok(None)
}

/// One image of the index, with all its blobs but the layers'.
pub(crate) fn read_image(
    medium: &Medium,
    reference: &ImageRef,
    entry: &IndexEntry,
) -> Result<Image, LayoutError> {
    let named =
        |source: ImageError| LayoutError::Image { image: reference.to_string(), source: source.into() };
    let mut blob = read_blob(medium, &entry.descriptor, MAX_BLOB)?;
    let mut indexes = Vec::new();
    let platform = entry.platform.clone().unwrap_or_else(larder_core::Platform::host);
    while media_type::is_index(&blob.descriptor.media_type) {
        let next =
            Index::parse(&blob).and_then(|index| Ok(index.select(&blob, &platform)?.descriptor.clone()));
        let next = read_blob(medium, &next.map_err(named)?, MAX_BLOB)?;
        indexes.push(std::mem::replace(&mut blob, next));
    }
    let config = Manifest::parse(&blob).map_err(named)?.config;
    let config = read_blob(medium, &config, MAX_BLOB)?;
    Image::assemble(reference.clone(), indexes, blob, config, &platform).map_err(named)
}

fn read_blob(medium: &Medium, descriptor: &Descriptor, limit: u64) -> Result<Blob, LayoutError> {
    let path = blob_path(descriptor.digest);
    let bytes = medium.read(&path, limit).map_err(failed(&path))?;
    let blob = Blob::new(&descriptor.media_type, bytes);
    if blob.descriptor == *descriptor { Ok(blob) } else { Err(LayoutError::Digest { path: path.into() }) }
}

/// The lines of `snapshots.metadata`: a chain ID and a directory each, and perhaps an md5.
pub(crate) fn snapshot_lines(bytes: &[u8]) -> impl Iterator<Item = Result<SnapshotLine, LayoutError>> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let parse = |(number, line): (usize, &str)| {
        let mut fields = line.split(' ');
        let chain_id = fields.next().and_then(|field| field.parse().ok());
        let directory = fields.next().and_then(|field| Some((layer_number(field)?, field.to_owned())));
        let md5 = fields.next().map(str::to_owned);
        match (chain_id, directory, fields.next()) {
            (Some(chain_id), Some((number, directory)), None) => {
                Ok(SnapshotLine { chain_id, number, directory, md5 })
            }
            _ => Err(LayoutError::SnapshotLine { line: number + 1, text: line.chars().take(120).collect() }),
        }
    };
    text.lines().enumerate().map(parse).collect::<Vec<_>>().into_iter()
}

/// The number in exactly `snapshots/<N>/fs`: nothing that could lead elsewhere.
fn layer_number(text: &str) -> Option<u64> {
    let number = text.strip_prefix("snapshots/")?.strip_suffix("/fs")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Where the blob with this digest is.
pub(crate) fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_layers_own_directory_is_accepted() {
        let chain_id = Digest::of(b"x");
        let good = format!("{chain_id} snapshots/12/fs\n{chain_id} snapshots/3/fs 0123\n");
        assert_eq!(
            snapshot_lines(good.as_bytes()).map(Result::unwrap).map(|line| line.number).collect::<Vec<_>>(),
            [12, 3]
        );
        for directory in [
            "snapshots/../fs",
            "/snapshots/1/fs",
            "snapshots/1/fs/..",
            "snapshots//fs",
            "",
            "snapshots/1/fs 0 0",
        ] {
            let line = format!("{chain_id} {directory}\n");
            assert!(matches!(
                snapshot_lines(line.as_bytes()).next(),
                Some(Err(LayoutError::SnapshotLine { line: 1, .. }))
            ));
        }
    }
}
