//! The crate's door: from what a person typed to images, and from an image's layers to their bytes.

use std::fmt;
use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;

use larder_core::{Descriptor, Image, ImageRef, Platform};
use tokio::runtime::{Handle, TryCurrentError};

use crate::archive::{Archive, ArchiveError, LayerSpans};
use crate::credentials::{CredentialError, Credentials};
use crate::layout::Layout;
use crate::options::ClientOptions;
use crate::reader::BlobReader;
use crate::registry::{Http, Registries, RegistryError, Repository};
use crate::resolve::{self, ResolveError};
use crate::spec::ImageSpec;
use crate::trust::{self, TrustError};

/// Resolves images and opens their layers; a clone shares connections and tokens.
#[derive(Clone)]
pub struct Client {
    runtime: Handle,
    registries: Arc<Registries>,
}

/// An image, and where its layers are.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The image, complete but for its layers' bytes.
    pub image: Image,
    /// For [`Client::open`].
    pub origin: Origin,
}

/// Where the layers of an image are; cheap to clone.
#[derive(Clone, Debug)]
pub struct Origin(Source);

#[derive(Clone, Debug)]
enum Source {
    Registry(Repository),
    Layout(Layout),
    Archive(Arc<LayerSpans>),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Fetches run in the background of a tokio runtime.
    #[error("a registry client needs a tokio runtime")]
    Runtime(#[from] TryCurrentError),
    /// The files with credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// A file with CA certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Http(#[from] RegistryError),
}

impl Client {
    /// A client that works on the current tokio runtime. Reads the files with credentials, and connects to nothing.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let ClientOptions {
            plain_http,
            ca_certs,
            mirrors,
            token_sources,
            docker_config,
            timeouts,
            retry,
            ranges,
        } = options;
        let runtime = Handle::try_current()?;
        let credentials = Credentials::load(token_sources, docker_config.as_deref(), timeouts.helper)?;
        let http = Http::new(timeouts, &trust::read(&ca_certs)?)?;
        let registries = Arc::new(Registries::new(http, credentials, plain_http, mirrors, retry, ranges));
        Ok(Self { runtime, registries })
    }

    /// Every image that `spec` names, for `platform`: one, or all that a docker archive holds under all their names.
    pub async fn resolve(
        &self,
        spec: &ImageSpec,
        platform: &Platform,
    ) -> Result<Vec<Resolved>, ResolveError> {
        match spec {
            ImageSpec::Registry(reference) => Ok(vec![self.registry_image(reference, platform).await?]),
            ImageSpec::OciLayout { dir, tag, name } => {
                let layout = Layout::open(dir).await?;
                let image = layout.image(tag.as_deref(), name.as_ref(), platform).await?;
                Ok(vec![Resolved { image, origin: Origin(Source::Layout(layout)) }])
            }
            ImageSpec::DockerArchive { file } => self.archive_images(file, platform).await,
        }
    }

    async fn registry_image(
        &self,
        reference: &ImageRef,
        platform: &Platform,
    ) -> Result<Resolved, ResolveError> {
        let repository = self.registries.repository(reference)?;
        let root = resolve::root(&repository, reference).await?;
        let image = resolve::image(&repository, reference.clone(), root, platform).await?;
        Ok(Resolved { image, origin: Origin(Source::Registry(repository)) })
    }

    async fn archive_images(&self, file: &Path, platform: &Platform) -> Result<Vec<Resolved>, ResolveError> {
        let (path, platform) = (file.to_owned(), platform.clone());
        let work = self.runtime.spawn_blocking(move || Archive::open(&path)?.images(&platform));
        let ended = |error| ArchiveError::Read { path: file.to_owned(), source: io::Error::other(error) };
        let (images, spans) = work.await.map_err(ended)??;
        let origin = Origin(Source::Archive(Arc::new(spans)));
        Ok(images.into_iter().map(|image| Resolved { image, origin: origin.clone() }).collect())
    }

    /// The bytes of a layer's blob, as it is stored. They are fetched in the background; a dropped reader ends that.
    ///
    /// Read to the end: only there has the digest been proven. Where size or digest differ, the reader returns an error
    /// of kind `InvalidData` instead of the end; every error of it holds a [`crate::BlobError`]. It blocks, so it belongs
    /// on a thread that may, not on a task.
    pub fn open(&self, origin: &Origin, descriptor: &Descriptor) -> io::Result<Box<dyn BufRead + Send>> {
        let extent = match &origin.0 {
            Source::Registry(repository) => {
                let stream = repository.blob(descriptor);
                return Ok(Box::new(BlobReader::over_stream(&self.runtime, descriptor, stream)));
            }
            Source::Layout(layout) => layout.extent(descriptor)?,
            Source::Archive(spans) => spans.extent(descriptor)?,
        };
        Ok(Box::new(BlobReader::over_file(&self.runtime, descriptor, extent)))
    }
}

impl Origin {
    /// Whether the layers come over the network.
    pub fn is_registry(&self) -> bool {
        matches!(self.0, Source::Registry(_))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
