//! What the node asks about registries while it fetches: credentials, and how large images are.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_core::{ImageRef, Platform};
use larder_node::cri::Auth;
use larder_node::fetch::{Offer, Registries};
use larder_node::{SecretCredentials, StoredSecret};
use larder_registry::{
    Candidates, Client, ClientOptions, Credential, CredentialError, ImageSpec, Keyring, KeyringOptions,
    PlainHttp, PluginPaths, PullSecret, RetryPolicy,
};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::pull_secrets::{Found, PullSecrets};
use crate::printer;

/// Asking for a size must not hold up a pull for long; a registry that is slower than this tells none.
const ASK: Duration = Duration::from_secs(5);
/// Where containerd speaks plain HTTP without being told.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// How registries are reached from here.
pub(in crate::command) struct RegistryAccess {
    docker_config: Option<PathBuf>,
    keyring: Keyring,
    pull_secrets: PullSecrets,
    /// Made when it is first needed: a node with plenty of room never asks.
    client: OnceCell<Option<Client>>,
    /// Registries that did not answer: they are not asked again, for only the runtime may have a way to them.
    silent: RefCell<HashSet<String>>,
}

impl RegistryAccess {
    /// With the credentials of a file and of kubelet's plugins (their configuration and their directory), where they are given.
    pub(in crate::command) fn new(
        docker_config: Option<&Path>,
        plugins: Option<(&Path, &Path)>,
    ) -> Result<Self, CredentialError> {
        let options = KeyringOptions {
            files: docker_config.into_iter().map(Path::to_owned).collect(),
            secrets: Vec::new(),
            plugins: plugins.map(|(config, programs)| PluginPaths {
                config: config.to_owned(),
                programs: programs.to_owned(),
            }),
        };
        let keyring = Keyring::load(&options)?;
        Ok(Self {
            docker_config: docker_config.map(Path::to_owned),
            keyring,
            pull_secrets: PullSecrets::default(),
            client: OnceCell::new(),
            silent: RefCell::default(),
        })
    }

    /// With pull secrets, too.
    pub(super) fn with_pull_secrets(self, pull_secrets: PullSecrets) -> Self {
        Self { pull_secrets, ..self }
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
    /// As the kubelet orders them: pull secrets come before plugins.
    async fn credentials(&self, image: &ImageRef) -> Offer {
        let Found { keyrings, more_to_come } = self.pull_secrets.found().await;
        let mut credentials = Vec::new();
        for keyring in keyrings.iter().map(AsRef::as_ref).chain([&self.keyring]) {
            let Candidates { credentials: some, failures } = keyring.candidates(image).await;
            for error in failures {
                printer::failure(&format!("credentials for {image}"), &error);
            }
            credentials.extend(some.iter().map(|credential| Some(auth(credential))));
        }
        Offer { credentials, more_to_come }
    }

    async fn size(&self, image: &ImageRef) -> Option<u64> {
        if self.silent.borrow().contains(image.registry()) {
            return None;
        }
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
                self.silent.borrow_mut().insert(image.registry().to_owned());
                None
            }
        }
    }
}

impl SecretCredentials for RegistryAccess {
    async fn in_secret(
        &self,
        image: &ImageRef,
        name: &str,
        secret: StoredSecret,
    ) -> Result<Vec<Auth>, String> {
        let StoredSecret { kind, data } = secret;
        let failed = |error: CredentialError| error.to_string();
        let secret = PullSecret::of_secret(name.to_owned(), &kind, data).map_err(failed)?;
        let options = KeyringOptions { secrets: vec![secret], ..KeyringOptions::default() };
        let Candidates { credentials, failures } =
            Keyring::load(&options).map_err(failed)?.candidates(image).await;
        match failures.into_iter().next() {
            Some(error) if credentials.is_empty() => Err(failed(error)),
            _ => Ok(credentials.iter().map(auth).collect()),
        }
    }
}

fn auth(credential: &Credential) -> Auth {
    match credential {
        Credential::Password { username, password } => {
            Auth { username: username.clone(), password: password.expose().to_owned(), ..Auth::default() }
        }
        Credential::IdentityToken(token) => {
            Auth { identity_token: token.expose().to_owned(), ..Auth::default() }
        }
    }
}
