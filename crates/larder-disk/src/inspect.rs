//! What is on a cache disk, without reading the files' contents.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use larder_core::{ChainId, DiffId, Digest, Image};
use serde::Serialize;

use crate::ext4::read::Facts;
use crate::layout::{self, CacheDisk, IMAGES, INDEX, LayoutError, SNAPSHOTS, SnapshotLine};
use crate::medium::{Medium, MediumError};

/// What is on a cache disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The disk's id; none on a disk without an OCI layout, as the reference builder makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Digest>,
    /// The file system; none for a mounted disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<FileSystemFacts>,
    /// In the order of the disk's index.
    pub images: Vec<InspectedImage>,
    /// In the order of their numbers.
    pub layers: Vec<InspectedLayer>,
    /// What sharing layers saves.
    pub shared: Sharing,
}

/// The file system of a cache disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystemFacts {
    /// Bytes of the file system.
    pub size: u64,
    /// Bytes in use, metadata included.
    pub used: u64,
    /// Its UUID.
    pub uuid: String,
    /// Bytes of its journal; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<u64>,
    /// Whether all of its metadata has checksums.
    pub checksums: bool,
}

/// An image on a cache disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectedImage {
    /// Its normalised reference.
    pub name: String,
    /// Of what the reference resolved to: an index or a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The contents, which are only known on a disk with an OCI layout.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub contents: Option<ImageContents>,
}

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageContents {
    /// Its layers, base first.
    pub layers: Vec<ChainId>,
    /// Bytes of the layers' blobs, as a registry holds them.
    pub compressed_bytes: u64,
    /// Bytes of the layers on the disk.
    pub disk_bytes: u64,
    /// Of these, in layers that no other image of the disk has.
    pub own_bytes: u64,
}

/// A layer on a cache disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectedLayer {
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// The digest of its archive, where an image says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// Of its directory, `snapshots/<number>/fs`.
    pub number: u64,
    /// Files, directories and links.
    pub files: u64,
    /// On the disk, without the inodes themselves.
    pub bytes: u64,
    /// The images that have it.
    pub images: Vec<String>,
}

/// What the images of a disk share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sharing {
    /// Layers that more than one image has.
    pub layers: usize,
    /// Bytes that they would take if each image had its own.
    pub saved_bytes: u64,
}

/// Says what is on the disk at `path`: an image, a block device, or a directory where it is mounted.
pub fn inspect(path: &Path) -> Result<Inspection, LayoutError> {
    let medium = layout::open(path)?;
    let failed = |at: &Path| {
        let path = at.to_owned();
        move |source: MediumError| LayoutError::Read { path, source: source.into() }
    };
    let facts = medium.facts().map_err(failed(path))?;
    let described = medium.find(INDEX).map_err(failed(Path::new(INDEX)))?.is_some();
    let disk = described.then(|| CacheDisk::on(&medium)).transpose()?;
    let lines: Vec<SnapshotLine> =
        layout::snapshot_lines(&layout::read(&medium, SNAPSHOTS)?).collect::<Result<_, _>>()?;
    let mut layers = lines.into_iter().map(|line| layer(&medium, line)).collect::<Result<Vec<_>, _>>()?;
    layers.sort_by_key(|layer| layer.number);
    let mut images = match &disk {
        Some(disk) => disk.images.iter().map(described_image).collect(),
        None => table(&layout::read(&medium, IMAGES)?),
    };
    if let Some(disk) = &disk {
        connect(&disk.images, &mut layers);
        weigh(&mut images, &layers);
    }
    Ok(Inspection {
        id: disk.map(|disk| disk.id),
        file_system: facts.map(file_system),
        shared: sharing(&layers),
        images,
        layers,
    })
}

fn file_system(facts: Facts) -> FileSystemFacts {
    let Facts { size, used, uuid, checksums, journal } = facts;
    FileSystemFacts { size, used, uuid: uuid::Uuid::from_bytes(uuid).to_string(), journal, checksums }
}

fn layer(medium: &Medium, line: SnapshotLine) -> Result<InspectedLayer, LayoutError> {
    let SnapshotLine { chain_id, number, directory, md5: _ } = line;
    let measured =
        medium.find(&directory).and_then(|place| medium.measure(place.ok_or(MediumError::Absent)?));
    let measured =
        measured.map_err(|source| LayoutError::Read { path: directory.into(), source: source.into() })?;
    let (files, bytes) = (measured.files, measured.bytes);
    Ok(InspectedLayer { chain_id, diff_id: None, number, files, bytes, images: Vec::new() })
}

fn described_image(image: &Image) -> InspectedImage {
    InspectedImage {
        name: image.reference.to_string(),
        digest: Some(image.target().descriptor.digest),
        platform: Some(image.platform.to_string()),
        contents: Some(ImageContents {
            layers: image.layers.iter().map(|layer| layer.chain_id).collect(),
            compressed_bytes: image.blob_bytes(),
            disk_bytes: 0,
            own_bytes: 0,
        }),
    }
}

/// The images that `ctr images ls` listed: REF TYPE DIGEST SIZE UNIT PLATFORMS LABELS.
pub(crate) fn table(text: &[u8]) -> Vec<InspectedImage> {
    let text = String::from_utf8_lossy(text);
    let (mut images, mut known) = (Vec::new(), HashSet::new());
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some(name) = fields.first().filter(|name| **name != "REF") else { continue };
        // The reference lists everything again after each image.
        if known.insert(*name) {
            images.push(InspectedImage {
                name: (*name).to_owned(),
                digest: fields.get(2).and_then(|digest| digest.parse().ok()),
                platform: fields.get(5).map(|platform| (*platform).to_owned()),
                contents: None,
            });
        }
    }
    images
}

/// Says of each layer which images have it.
fn connect(images: &[Image], layers: &mut [InspectedLayer]) {
    let mut places: BTreeMap<ChainId, &mut InspectedLayer> =
        layers.iter_mut().map(|layer| (layer.chain_id, layer)).collect();
    for image in images {
        for layer in &image.layers {
            if let Some(found) = places.get_mut(&layer.chain_id) {
                found.diff_id = Some(layer.diff_id);
                found.images.push(image.reference.to_string());
            }
        }
    }
}

fn weigh(images: &mut [InspectedImage], layers: &[InspectedLayer]) {
    let by_chain: BTreeMap<ChainId, &InspectedLayer> =
        layers.iter().map(|layer| (layer.chain_id, layer)).collect();
    for contents in images.iter_mut().filter_map(|image| image.contents.as_mut()) {
        for layer in contents.layers.iter().filter_map(|chain_id| by_chain.get(chain_id)) {
            let own = if layer.images.len() == 1 { layer.bytes } else { 0 };
            contents.disk_bytes = contents.disk_bytes.saturating_add(layer.bytes);
            contents.own_bytes = contents.own_bytes.saturating_add(own);
        }
    }
}

fn sharing(layers: &[InspectedLayer]) -> Sharing {
    let shared = layers.iter().filter(|layer| layer.images.len() > 1);
    shared.fold(Sharing::default(), |sum, layer| Sharing {
        layers: sum.layers + 1,
        saved_bytes: sum
            .saved_bytes
            .saturating_add(layer.bytes.saturating_mul(layer.images.len() as u64 - 1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_table_names_its_images_once() {
        let digest = Digest::of(b"m");
        let header = "REF                TYPE  DIGEST SIZE      PLATFORMS   LABELS\n";
        let row = format!("example.test/a:1   application/x {digest} 3.1 MiB linux/amd64 -\n");
        let images = table([header, &row, header, &row].concat().as_bytes());
        let expected = InspectedImage {
            name: "example.test/a:1".to_owned(),
            digest: Some(digest),
            platform: Some("linux/amd64".to_owned()),
            contents: None,
        };
        assert_eq!(images, [expected]);
        assert_eq!(table(b"\n\xff\n").len(), 1);
    }
}
