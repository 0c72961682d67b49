//! Writes the files of a cache disk besides its layers, from values in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use larder_core::{Blob, ChainId, DiffId, Digest, Image, Index, IndexEntry, Manifest, media_type};

use super::{
    CHAIN_ID, CONTAINERD_NAME, DIFF_ID, IMAGES, INDEX, LISTING, LISTINGS_ARTIFACT, OCI_LAYOUT,
    OCI_LAYOUT_FILE, OCI_REF_NAME, SNAPSHOTS, blob_path,
};

/// A layer as the metadata names it.
#[derive(Clone, Debug)]
pub(crate) struct LayerRecord {
    pub(crate) chain_id: ChainId,
    pub(crate) diff_id: DiffId,
    /// The number of its directory, from 1.
    pub(crate) number: usize,
    pub(crate) listing: Blob,
    /// The reference's checksum, in hexadecimal, where the disk is to have it.
    pub(crate) md5: Option<String>,
}

/// A file of the disk's metadata: its path and content.
pub(crate) type MetadataFile = (String, Bytes);

/// The directory of layer `number`, relative to the disk's root.
fn layer_directory(number: usize) -> String {
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
        (SNAPSHOTS.to_owned(), snapshots_metadata(layers)),
        (IMAGES.to_owned(), images_metadata(images)),
        (OCI_LAYOUT_FILE.to_owned(), Bytes::from_static(OCI_LAYOUT.as_bytes())),
        (INDEX.to_owned(), index),
    ];
    files.extend(blobs);
    (files, id)
}

/// In the order of the chain IDs, as the reference builder writes it.
fn snapshots_metadata(layers: &[LayerRecord]) -> Bytes {
    let line = |layer: &LayerRecord| {
        let md5 = layer.md5.as_ref().map_or_else(String::new, |md5| format!(" {md5}"));
        format!("{} {}{md5}\n", layer.chain_id, layer_directory(layer.number))
    };
    let mut lines: Vec<String> = layers.iter().map(line).collect();
    lines.sort_unstable();
    lines.concat().into()
}

/// The table that `ctr images ls` prints; SIZE is that of all blobs as a registry holds them.
pub(crate) fn images_metadata(images: &[Image]) -> Bytes {
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

/// The index of the images and of their layers' listings.
pub(crate) fn index_json(images: &[Image], listings: &Blob) -> Bytes {
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
