//! A client of the OCI distribution protocol, as far as pulling needs it: manifests and blobs of one repository.
//! Proves no digest: what comes out is what the registry said.

mod blob;
mod senders;
mod span;

mod host;

mod auth;
mod challenge;
mod token;

mod failure;
mod http;
mod retry;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use larder_core::{Digest, ImageRef};
use tokio::sync::Semaphore;

use crate::credentials::Credentials;
use crate::endpoint;
use crate::mirror::Mirror;
use crate::options::PlainHttp;

use auth::Authority;
use host::Health;

pub(crate) use blob::BlobStream;
pub use blob::RangePolicy;
pub use failure::{Access, RegistryError};
pub(crate) use host::Host;
pub(crate) use http::Http;
pub use retry::RetryPolicy;

/// What all repositories of a client share: connections, tokens, patience.
pub(crate) struct Registries {
    http: Http,
    authority: Authority,
    plain_http: PlainHttp,
    mirrors: Vec<(Mirror, Arc<Health>)>,
    retry: RetryPolicy,
    ranges: RangePolicy,
    /// A permit for each part of a blob that is fetched ahead of its reader.
    read_ahead: Arc<Semaphore>,
}

/// One repository of one registry, at every host that may have it.
#[derive(Clone)]
pub(crate) struct Repository {
    hosts: Arc<Hosts>,
}

struct Hosts {
    /// In the order in which they are asked.
    mirrors: Vec<Host>,
    /// Asked last.
    itself: Host,
    /// Blobs of which hosts have sent wrong bytes, and the number of the first host that is still asked.
    distrusted: Mutex<HashMap<Digest, usize>>,
}

/// A registry and a repository in it: what one token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// As in references: `docker.io`.
    pub(crate) registry: String,
    /// `library/redis`.
    pub(crate) repository: String,
}

/// An index or manifest as a registry gave it.
pub(crate) struct Document {
    /// The body.
    pub(crate) bytes: Bytes,
    /// `Content-Type`.
    pub(crate) media_type: Option<String>,
    /// `Docker-Content-Digest`.
    pub(crate) digest: Option<String>,
    /// Where it came from, for messages.
    pub(crate) url: String,
}

impl Registries {
    /// Nothing is connected yet.
    pub(crate) fn new(
        http: Http,
        credentials: Credentials,
        plain_http: PlainHttp,
        mirrors: Vec<Mirror>,
        retry: RetryPolicy,
        ranges: RangePolicy,
    ) -> Self {
        let authority = Authority::new(http.clone(), credentials, plain_http.clone());
        let mirrors = mirrors.into_iter().map(|mirror| (mirror, Arc::default())).collect();
        let read_ahead = Arc::new(Semaphore::new(ranges.ahead));
        Self { http, authority, plain_http, mirrors, retry, ranges, read_ahead }
    }

    /// The repository that `reference` is in.
    pub(crate) fn repository(self: &Arc<Self>, reference: &ImageRef) -> Result<Repository, RegistryError> {
        let (registry, repository) = (reference.registry(), reference.repository());
        let base = endpoint::base_url(registry, &self.plain_http)
            .ok_or_else(|| RegistryError::Address(registry.to_owned()))?;
        let serving = self.mirrors.iter().filter(|(mirror, _)| mirror.serves(registry));
        let mirror = |(mirror, health): &(Mirror, Arc<Health>)| {
            Host::mirror(Arc::clone(self), mirror, Arc::clone(health), registry, repository)
        };
        let mirrors = serving.map(mirror).collect();
        let scope = Scope { registry: registry.to_owned(), repository: repository.to_owned() };
        let itself = Host::registry(Arc::clone(self), base, scope);
        Ok(Repository::of(mirrors, itself))
    }
}

impl Repository {
    fn of(mirrors: Vec<Host>, itself: Host) -> Self {
        Self { hosts: Arc::new(Hosts { mirrors, itself, distrusted: Mutex::default() }) }
    }

    /// The mirrors to ask now, before the registry itself.
    pub(crate) fn mirrors(&self) -> impl Iterator<Item = &Host> {
        self.hosts.mirrors.iter().filter(|mirror| !mirror.is_resting())
    }

    /// The registry itself.
    pub(crate) fn itself(&self) -> &Host {
        &self.hosts.itself
    }

    /// The same repository, at the registry alone.
    pub(crate) fn without_mirrors(&self) -> Self {
        Self::of(Vec::new(), self.hosts.itself.clone())
    }

    /// The `number`th host in the order of asking; after the mirrors it is the registry itself.
    fn host(&self, number: usize) -> &Host {
        self.hosts.mirrors.get(number).unwrap_or(&self.hosts.itself)
    }

    /// The hosts before the `first` are not asked for the blob `digest` any more.
    fn distrust(&self, digest: Digest, first: usize) {
        let mut distrusted = self.distrusted();
        let known = distrusted.entry(digest).or_default();
        *known = first.max(*known);
    }

    /// The number of the first host that is asked for the blob `digest`.
    fn trusted_from(&self, digest: &Digest) -> usize {
        self.distrusted().get(digest).copied().unwrap_or(0)
    }

    fn distrusted(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.hosts.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    /// `docker.io/library/redis`.
    fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.itself(), f)
    }
}
