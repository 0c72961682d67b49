//! From a root document to an image: through at most two indexes to the platform's manifest and its configuration.
//! The walk is the same for a registry and a layout; each gives the documents in its own way.

use larder_core::{
    Blob, ByteSize, Descriptor, Digest, Image, ImageError, ImageRef, Index, IndexEntry, Manifest, Platform,
    media_type,
};

use crate::archive::ArchiveError;
use crate::blob::{BlobError, Proof};
use crate::document::{self, DocumentError, MAX_CONFIG};
use crate::layout::LayoutError;
use crate::registry::{Host, RegistryError, Repository};

/// An index, and one within it (buildkit's nested attestations, multi-tag layouts); nobody makes deeper ones.
const MAX_INDEXES: usize = 2;

/// Why an image was not resolved. The caller says which image.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The registry did not give a document.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The OCI layout cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The docker archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A document is not what was asked for.
    #[error("{place}")]
    Document {
        /// A URL or a file.
        place: String,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// The configuration cannot be had, or is not the one that was asked for.
    #[error("cannot read the configuration")]
    Config(#[source] BlobError),
    /// The documents make no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Indexes within indexes within indexes.
    #[error("index {0} is nested deeper than {MAX_INDEXES} levels")]
    TooDeep(Digest),
}

/// Where indexes, manifests and configurations come from.
pub(crate) trait Documents: Sync {
    /// The index or manifest of `descriptor`, with its digest, size and media type checked.
    fn manifest(&self, descriptor: &Descriptor) -> impl Future<Output = Result<Blob, ResolveError>> + Send;

    /// The configuration of `descriptor`, with its digest and size checked; its size is bearable.
    fn config(&self, descriptor: &Descriptor) -> impl Future<Output = Result<Blob, ResolveError>> + Send;
}

/// The image for `platform` that `root` leads to, under the name `reference`.
pub(crate) async fn image(
    documents: &impl Documents,
    reference: ImageRef,
    root: Blob,
    platform: &Platform,
) -> Result<Image, ResolveError> {
    let mut indexes = Vec::new();
    let mut blob = root;
    while media_type::is_index(&blob.descriptor.media_type) {
        if indexes.len() == MAX_INDEXES {
            return Err(ResolveError::TooDeep(blob.descriptor.digest));
        }
        let index = Index::parse(&blob)?;
        let next = documents.manifest(&choose(&index, &blob, platform)?.descriptor).await?;
        indexes.push(std::mem::replace(&mut blob, next));
    }
    let config = Manifest::parse(&blob)?.config;
    check_config_size(&config)?;
    let config = documents.config(&config).await?;
    Ok(Image::assemble(reference, indexes, blob, config, platform)?)
}

/// The entry for `platform`, or the only one where none says what it is for: its configuration will tell.
fn choose<'a>(index: &'a Index, blob: &Blob, platform: &Platform) -> Result<&'a IndexEntry, ImageError> {
    match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Ok(only),
        _ => index.select(blob, platform),
    }
}

fn check_config_size(config: &Descriptor) -> Result<(), ResolveError> {
    if config.size <= MAX_CONFIG {
        return Ok(());
    }
    let source = DocumentError::TooLarge { what: "configuration", limit: ByteSize(MAX_CONFIG) };
    Err(ResolveError::Document { place: format!("blob {}", config.digest), source })
}

impl Documents for Repository {
    async fn manifest(&self, descriptor: &Descriptor) -> Result<Blob, ResolveError> {
        let blob = fetch(self, &descriptor.digest.to_string(), Some(descriptor.digest)).await?;
        let place = || format!("manifest {}", descriptor.digest);
        document::check_entry(&blob, descriptor)
            .map_err(|source| ResolveError::Document { place: place(), source })?;
        Ok(blob)
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Blob, ResolveError> {
        let bytes = collect(self, descriptor).await.map_err(ResolveError::Config)?;
        Ok(Blob { descriptor: descriptor.clone(), bytes: bytes.into() })
    }
}

/// The document that `reference` names, which is a digest where there is one, else a tag.
pub(crate) async fn root(repository: &Repository, reference: &ImageRef) -> Result<Blob, ResolveError> {
    match reference.digest() {
        Some(digest) => fetch(repository, &digest.to_string(), Some(digest)).await,
        // A parsed reference without a digest has a tag.
        None => fetch(repository, reference.tag().unwrap_or("latest"), None).await,
    }
}

/// The document from the first host that has a sound one.
async fn fetch(
    repository: &Repository,
    reference: &str,
    digest: Option<Digest>,
) -> Result<Blob, ResolveError> {
    for mirror in repository.mirrors() {
        match fetch_from(mirror, reference, digest).await {
            Ok(blob) => return Ok(blob),
            Err(error) => mirror.pass_over(&error),
        }
    }
    fetch_from(repository.itself(), reference, digest).await
}

async fn fetch_from(host: &Host, reference: &str, digest: Option<Digest>) -> Result<Blob, ResolveError> {
    let answer = host.manifest(reference).await?;
    // A registry may name a digest that is not sha256; then there is nothing to hold the content against.
    let announced = answer.digest.as_deref().and_then(|text| text.parse().ok());
    let blob = document::read(answer.bytes, answer.media_type.as_deref(), digest.or(announced));
    blob.map_err(|source| ResolveError::Document { place: answer.url, source })
}

/// A mirror with other bytes is found out only at their end: then the registry itself is asked.
async fn collect(repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>, BlobError> {
    match collect_from(repository, descriptor).await {
        Err(error) if repository.mirrors().next().is_some() && !matches!(error, BlobError::Fetch { .. }) => {
            collect_from(&repository.without_mirrors(), descriptor).await
        }
        collected => collected,
    }
}

async fn collect_from(repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>, BlobError> {
    let failed = |source| BlobError::Fetch { digest: descriptor.digest, source };
    let mut proof = Proof::of(descriptor);
    let mut stream = repository.blob(descriptor);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await.map_err(failed)? {
        proof.update(&chunk)?;
        bytes.extend_from_slice(&chunk);
    }
    proof.finish()?;
    Ok(bytes)
}
