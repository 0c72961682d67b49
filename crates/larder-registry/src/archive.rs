//! What `docker save` writes: a tar with `manifest.json`, configurations and layers. Makes an OCI manifest for each
//! image, the same one every time; it is Larder's, for the registry's own is not in such an archive.
//! Names in the archive lead only to places in the archive, never to files of this machine.

mod contents;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use larder_core::{
    Blob, ByteSize, Descriptor, DiffId, Digest, Image, ImageConfig, ImageError, ImageRef, IndexEntry,
    Manifest, Platform, ReferenceError, media_type,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::blob::BlobError;
use crate::document::{MAX_CONFIG, MAX_MANIFEST};
use crate::reader::Extent;
use contents::{Contents, Span};

const MANIFEST: &str = "manifest.json";
/// Where newer archives keep content by its digest.
const BLOBS: &str = "blobs/sha256/";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Why a docker archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read, or is not a tar.
    #[error("cannot read {path} as a tar")]
    Read {
        /// The archive.
        path: PathBuf,
        /// What the system or the tar reader said.
        #[source]
        source: io::Error,
    },
    /// The whole archive is compressed; its layers could only be found by reading all of it.
    #[error("{path} is compressed: unpack it first ({program} {path})")]
    Compressed {
        /// The archive.
        path: PathBuf,
        /// What unpacks it.
        program: &'static str,
    },
    /// More files than any archive of images has.
    #[error("{path} has more than {limit} entries")]
    TooManyEntries {
        /// The archive.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The file ends within an entry.
    #[error("{path} is truncated within {entry:?}")]
    Truncated {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
    /// It is a tar, but not of `docker save`.
    #[error(
        "{0} has no {MANIFEST}: it was not written by docker save (unpack an OCI archive and name it oci:DIR)"
    )]
    NoManifest(PathBuf),
    /// A file that an image needs is not in the archive.
    #[error("{path} has no file {entry:?}")]
    Missing {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
    /// A document in it is larger than Larder reads of its kind.
    #[error("{entry:?} in {path} is larger than the limit of {limit}")]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// In bytes.
        limit: ByteSize,
    },
    /// A document in it is not what it should be.
    #[error("cannot read {entry:?} in {path}")]
    Json {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// An image was saved by its ID.
    #[error(
        "the image with the configuration {config:?} in {path} has no name: save it by name (docker save NAME:TAG)"
    )]
    NoName {
        /// The archive.
        path: PathBuf,
        /// The entry of its configuration.
        config: String,
    },
    /// A name in it is no reference.
    #[error("{path} has an image whose name cannot be used")]
    Name {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// The files make no image.
    #[error("image {reference} in {path}")]
    Image {
        /// The archive.
        path: PathBuf,
        /// The image.
        reference: Box<ImageRef>,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// The archive has no image.
    #[error("{0} has no image")]
    Empty(PathBuf),
}

/// An archive that was looked through.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    file: Arc<File>,
    contents: Contents,
    /// Of the layers that had to be read for it, by where they begin: images share layers.
    digests: RefCell<HashMap<u64, Digest>>,
}

/// Where the layers of an archive's images are.
#[derive(Debug)]
pub(crate) struct LayerSpans {
    file: Arc<File>,
    path: PathBuf,
    spans: HashMap<Digest, Span>,
}

/// An image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    /// Looks through the archive at `path`; blocking.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Read { path: path.to_owned(), source };
        let file = Arc::new(File::open(path).map_err(failed)?);
        if let Some(program) = unpacker(&head(&file, 0).map_err(failed)?) {
            return Err(ArchiveError::Compressed { path: path.to_owned(), program });
        }
        let contents = Contents::scan(path, &file)?;
        Ok(Self { path: path.to_owned(), file, contents, digests: RefCell::default() })
    }

    /// Every image under each of its names, and where their layers are; blocking.
    pub(crate) fn images(&self, platform: &Platform) -> Result<(Vec<Image>, LayerSpans), ArchiveError> {
        if self.contents.span(MANIFEST).is_none() {
            return Err(ArchiveError::NoManifest(self.path.clone()));
        }
        let saved: Vec<Saved> = self.json(MANIFEST, &self.bytes(MANIFEST, MAX_MANIFEST)?)?;
        let mut spans = HashMap::new();
        let mut images = Vec::new();
        for saved in &saved {
            images.extend(self.image(saved, platform, &mut spans)?);
        }
        if images.is_empty() {
            return Err(ArchiveError::Empty(self.path.clone()));
        }
        Ok((images, LayerSpans { file: Arc::clone(&self.file), path: self.path.clone(), spans }))
    }

    fn image(
        &self,
        saved: &Saved,
        platform: &Platform,
        spans: &mut HashMap<Digest, Span>,
    ) -> Result<Vec<Image>, ArchiveError> {
        let references = self.references(saved)?;
        let config = Blob::new(media_type::OCI_CONFIG, self.bytes(&saved.config, MAX_CONFIG)?);
        let parsed: ImageConfig = self.json(&saved.config, &config.bytes)?;
        let mut layers = Vec::new();
        // Image::assemble refuses lists of different lengths.
        for (index, entry) in saved.layers.iter().enumerate() {
            let (descriptor, span) = self.layer(entry, parsed.rootfs.diff_ids.get(index).copied())?;
            spans.insert(descriptor.digest, span);
            layers.push(IndexEntry { descriptor, platform: None, annotations: BTreeMap::new() });
        }
        let manifest = self.manifest(&config, layers)?;
        let assemble = |reference: ImageRef| {
            Image::assemble(reference.clone(), Vec::new(), manifest.clone(), config.clone(), platform)
                .map_err(|source| self.no_image(reference, source))
        };
        references.into_iter().map(assemble).collect()
    }

    fn references(&self, saved: &Saved) -> Result<Vec<ImageRef>, ArchiveError> {
        let path = || self.path.clone();
        match saved.repo_tags.as_deref() {
            None | Some([]) => Err(ArchiveError::NoName { path: path(), config: saved.config.clone() }),
            Some(tags) => {
                let references = tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>();
                references.map_err(|source| ArchiveError::Name { path: path(), source })
            }
        }
    }

    /// An uncompressed layer's digest is its diff ID; a compressed one's is in its name, or is computed here. Either
    /// is proven when the layer is read.
    fn layer(&self, entry: &str, diff_id: Option<DiffId>) -> Result<(Descriptor, Span), ArchiveError> {
        let span = self.span(entry)?;
        let failed = |source| self.unreadable(source);
        let head = if span.length < 4 { [0; 4] } else { head(&self.file, span.offset).map_err(failed)? };
        let (media_type, digest) = match diff_id {
            _ if head.starts_with(GZIP) => (media_type::OCI_LAYER_GZIP, None),
            _ if head.starts_with(ZSTD) => (media_type::OCI_LAYER_ZSTD, None),
            diff_id => (media_type::OCI_LAYER, diff_id.map(|diff_id| diff_id.0)),
        };
        let digest = match digest.or_else(|| digest_in_name(entry)) {
            Some(digest) => digest,
            None => self.digest(span).map_err(failed)?,
        };
        Ok((Descriptor { media_type: media_type.to_owned(), digest, size: span.length }, span))
    }

    fn digest(&self, span: Span) -> io::Result<Digest> {
        if let Some(known) = self.digests.borrow().get(&span.offset) {
            return Ok(*known);
        }
        let extent = extent(&self.file, &self.path, span);
        let mut hasher = Sha256::new();
        for chunk in extent.chunks() {
            hasher.update(&chunk?);
        }
        let digest = Digest::from_sha256(hasher.finalize().into());
        self.digests.borrow_mut().insert(span.offset, digest);
        Ok(digest)
    }

    fn manifest(&self, config: &Blob, layers: Vec<IndexEntry>) -> Result<Blob, ArchiveError> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: config.descriptor.clone(),
            layers,
        };
        let entry = || MANIFEST.to_owned();
        let bytes = serde_json::to_vec(&manifest).map_err(|source| ArchiveError::Json {
            path: self.path.clone(),
            entry: entry(),
            source,
        })?;
        Ok(Blob::new(media_type::OCI_MANIFEST, bytes))
    }

    fn span(&self, entry: &str) -> Result<Span, ArchiveError> {
        let missing = || ArchiveError::Missing { path: self.path.clone(), entry: entry.to_owned() };
        self.contents.span(entry).ok_or_else(missing)
    }

    fn bytes(&self, entry: &str, limit: u64) -> Result<Bytes, ArchiveError> {
        let span = self.span(entry)?;
        if span.length > limit {
            let (path, entry) = (self.path.clone(), entry.to_owned());
            return Err(ArchiveError::TooLarge { path, entry, limit: ByteSize(limit) });
        }
        let extent = extent(&self.file, &self.path, span);
        let mut bytes = BytesMut::new();
        for chunk in extent.chunks() {
            bytes.extend_from_slice(&chunk.map_err(|source| self.unreadable(source))?);
        }
        Ok(bytes.freeze())
    }

    fn no_image(&self, reference: ImageRef, source: ImageError) -> ArchiveError {
        ArchiveError::Image { path: self.path.clone(), reference: Box::new(reference), source }
    }

    fn unreadable(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Read { path: self.path.clone(), source }
    }

    fn json<'a, T: Deserialize<'a>>(&self, entry: &str, bytes: &'a [u8]) -> Result<T, ArchiveError> {
        let (path, entry) = (self.path.clone(), entry.to_owned());
        serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json { path, entry, source })
    }
}

impl LayerSpans {
    /// Where the bytes of the layer `descriptor` are.
    pub(crate) fn extent(&self, descriptor: &Descriptor) -> Result<Extent, BlobError> {
        let digest = descriptor.digest;
        let missing = || BlobError::Missing { digest, place: self.path.display().to_string() };
        self.spans.get(&digest).map(|span| extent(&self.file, &self.path, *span)).ok_or_else(missing)
    }
}

fn extent(file: &Arc<File>, path: &Path, span: Span) -> Extent {
    let Span { offset, length } = span;
    Extent { file: Arc::clone(file), place: path.display().to_string(), offset, length }
}

/// The first bytes from `offset` on; zeros where the file ends.
fn head(file: &File, offset: u64) -> io::Result<[u8; 4]> {
    use std::os::unix::fs::FileExt;
    let mut head = [0; 4];
    file.read_at(&mut head, offset)?;
    Ok(head)
}

fn unpacker(head: &[u8]) -> Option<&'static str> {
    let table: [(&[u8], _); 4] =
        [(GZIP, "gunzip"), (ZSTD, "unzstd"), (b"BZh", "bunzip2"), (b"\xfd7zX", "unxz")];
    table.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, program)| *program)
}

fn digest_in_name(entry: &str) -> Option<Digest> {
    format!("sha256:{}", entry.strip_prefix(BLOBS)?).parse().ok()
}
