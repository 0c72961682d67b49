//! What the node asks about registries while it fetches: credentials, and how large images are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_core::{ImageRef, Platform};
use larder_node::cri::Auth;
use larder_node::fetch::Registries;
use larder_registry::{Client, ClientOptions, ImageSpec, PlainHttp, RetryPolicy};
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Asking for a size must not hold up a pull for long; a registry that is slower than this tells none.
const ASK: Duration = Duration::from_secs(10);
/// Where containerd speaks plain HTTP without being told.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// How registries are reached from here.
pub(super) struct RegistryAccess {
    docker_config: Option<PathBuf>,
    /// Made when it is first needed: a node with plenty of room never asks.
    client: OnceCell<Option<Client>>,
}

impl RegistryAccess {
    pub(super) fn new(docker_config: Option<&Path>) -> Self {
        Self { docker_config: docker_config.map(Path::to_owned), client: OnceCell::new() }
    }

    async fn client(&self) -> Option<&Client> {
        let make = || async {
            let options = ClientOptions {
                plain_http: PlainHttp::Hosts(LOOPBACK.map(str::to_owned).into()),
                docker_config: self.docker_config.clone(),
                retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
                ..ClientOptions::default()
            };
            let made = Client::new(options);
            made.inspect_err(|error| tracing::warn!(%error, "sizes of images are not known")).ok()
        };
        self.client.get_or_init(make).await.as_ref()
    }
}

impl Registries for RegistryAccess {
    async fn credentials(&self, _image: &ImageRef) -> Vec<Option<Auth>> {
        vec![None]
    }

    async fn size(&self, image: &ImageRef) -> Option<u64> {
        let client = self.client().await?;
        let (spec, platform) = (ImageSpec::Registry(image.clone()), Platform::host());
        let unknown =
            |reason: String| tracing::info!(%image, reason, "the registry does not tell an image's size");
        match timeout(ASK, client.resolve(&spec, &platform)).await {
            Ok(Ok(found)) => {
                let layers = found.iter().flat_map(|found| &found.image.layers);
                Some(layers.map(|layer| layer.descriptor.size).fold(0, u64::saturating_add))
            }
            Ok(Err(error)) => {
                unknown(error.to_string());
                None
            }
            Err(_) => {
                unknown(format!("no answer within {ASK:?}"));
                None
            }
        }
    }
}
