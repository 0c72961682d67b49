//! OCI layouts (OCI image spec, "Image Layout"): picks an image of `index.json`, names it, and finds its blobs.
//! A path within a layout is only ever made of a parsed digest.

mod naming;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use larder_core::{
    Blob, ByteSize, Descriptor, Digest, Image, ImageError, ImageRef, Index, IndexEntry, Platform,
    ReferenceError, media_type,
};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::blob::{BlobError, Proof};
use crate::document::{self, MAX_CONFIG, MAX_MANIFEST};
use crate::reader::Extent;
use crate::resolve::{self, Documents, ResolveError};

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
/// The one version that there is (OCI image spec, "oci-layout file").
const VERSION: &str = "1.0.0";
/// The marker file is 30 bytes; this much is read of it.
const MAX_MARKER: u64 = 4 << 10;

/// Why an OCI layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file of it cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of it is larger than Larder reads of its kind.
    #[error("{path} is larger than the limit of {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In bytes.
        limit: ByteSize,
    },
    /// The directory has no `oci-layout` file, or another version of it.
    #[error("{0} is not an OCI layout of version {VERSION}")]
    Version(PathBuf),
    /// `index.json` is not an index.
    #[error("{path} is not an index")]
    Index {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: ImageError,
    },
    /// No image has that name.
    #[error("no image {tag:?} in {dir}, which has {available}")]
    NoSuchTag {
        /// The layout.
        dir: PathBuf,
        /// That was asked for.
        tag: String,
        /// What there is, separated by commas.
        available: String,
    },
    /// No name was given, and there are several images.
    #[error("{dir} has several images, name one as oci:DIR:TAG: {available}")]
    Several {
        /// The layout.
        dir: PathBuf,
        /// What there is, separated by commas.
        available: String,
    },
    /// There is no image.
    #[error("{0} has no image")]
    Empty(PathBuf),
    /// Neither annotations nor directory and tag make a reference.
    #[error("cannot name the image of {dir}: give it a name as REF=oci:DIR:TAG")]
    NoName {
        /// The layout.
        dir: PathBuf,
        /// Why the best candidate is no name.
        #[source]
        source: ReferenceError,
    },
}

/// A layout in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// The layout in `dir`, once its marker was seen.
    pub(crate) async fn open(dir: &Path) -> Result<Self, LayoutError> {
        let bytes = read_limited(&dir.join(MARKER), MAX_MARKER).await?;
        match serde_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.image_layout_version == VERSION => Ok(Self { dir: dir.to_owned() }),
            _ => Err(LayoutError::Version(dir.to_owned())),
        }
    }

    /// The image that `tag` names, or the only one, for `platform`.
    pub(crate) async fn image(
        &self,
        tag: Option<&str>,
        name: Option<&ImageRef>,
        platform: &Platform,
    ) -> Result<Image, ResolveError> {
        let path = self.dir.join(INDEX);
        let bytes = read_limited(&path, MAX_MANIFEST).await?;
        let blob = Blob::new(media_type::OCI_INDEX, bytes);
        let index = Index::parse(&blob).map_err(|source| LayoutError::Index { path, source })?;
        let entry = self.pick(&index, &blob, tag, platform)?;
        let reference = match name {
            Some(name) => name.clone(),
            None => naming::reference(&self.basename(), tag, &entry.annotations)
                .map_err(|source| LayoutError::NoName { dir: self.dir.clone(), source })?,
        };
        let root = self.manifest(&entry.descriptor).await?;
        resolve::image(self, reference, root, platform).await
    }

    /// One entry; among several of one name, which differ in platform, the one for `platform`.
    fn pick(
        &self,
        index: &Index,
        blob: &Blob,
        tag: Option<&str>,
        platform: &Platform,
    ) -> Result<IndexEntry, ResolveError> {
        let dir = || self.dir.clone();
        let names = naming::names(&index.manifests);
        let available = || if names.is_empty() { "no names".to_owned() } else { names.join(", ") };
        let mut found = index.clone();
        match tag {
            Some(tag) => found.manifests.retain(|entry| naming::is_named(&entry.annotations, tag)),
            None if names.len() > 1 => {
                return Err(LayoutError::Several { dir: dir(), available: available() }.into());
            }
            None => {}
        }
        let mut seen = BTreeSet::new();
        found.manifests.retain(|entry| seen.insert(entry.descriptor.digest));
        match (found.manifests.as_slice(), tag) {
            ([], Some(tag)) => {
                let tag = tag.to_owned();
                Err(LayoutError::NoSuchTag { dir: dir(), tag, available: available() }.into())
            }
            ([], None) => Err(LayoutError::Empty(dir()).into()),
            ([only], _) => Ok(only.clone()),
            _ => Ok(found.select(blob, platform)?.clone()),
        }
    }

    /// The directory's own name, also for `.` and the like.
    fn basename(&self) -> String {
        let dir = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let dir = dir.canonicalize().unwrap_or(dir);
        dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Where the bytes of the blob `descriptor` are.
    pub(crate) fn extent(&self, descriptor: &Descriptor) -> Result<Extent, BlobError> {
        let path = self.blob_path(descriptor.digest);
        let (digest, place) = (descriptor.digest, path.display().to_string());
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) => Ok(Extent { file: Arc::new(file), place, offset: 0, length }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(BlobError::Missing { digest, place })
            }
            Err(source) => Err(BlobError::Read { digest, place, source }),
        }
    }
}

impl Documents for Layout {
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Blob, ResolveError> {
        let path = self.blob_path(descriptor.digest);
        let bytes = read_limited(&path, MAX_MANIFEST).await?;
        let blob = document::read(bytes, Some(&descriptor.media_type), Some(descriptor.digest));
        let blob = blob.and_then(|blob| document::check_entry(&blob, descriptor).map(|()| blob));
        blob.map_err(|source| ResolveError::Document { place: path.display().to_string(), source })
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Blob, ResolveError> {
        let bytes = read_limited(&self.blob_path(descriptor.digest), MAX_CONFIG).await?;
        let mut proof = Proof::of(descriptor);
        proof.update(&bytes).and_then(|()| proof.finish()).map_err(ResolveError::Config)?;
        Ok(Blob { descriptor: descriptor.clone(), bytes })
    }
}

async fn read_limited(path: &Path, limit: u64) -> Result<Bytes, LayoutError> {
    let mut bytes = Vec::new();
    let read = async { tokio::fs::File::open(path).await?.take(limit + 1).read_to_end(&mut bytes).await };
    read.await.map_err(|source| LayoutError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(LayoutError::TooLarge { path: path.to_owned(), limit: ByteSize(limit) });
    }
    Ok(bytes.into())
}
