//! One host that has a repository: the registry itself, or a mirror of it. A mirror is asked once and never waited for; one
//! that cannot be reached rests for a while, so that not every request waits for it anew.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use larder_core::media_type;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use super::auth::Pass;
use super::challenge::Challenge;
use super::failure::{self, Access};
use super::retry::{Backoff, RetryPolicy};
use super::{Document, Registries, RegistryError, Scope};
use crate::document::MAX_MANIFEST;
use crate::endpoint;
use crate::mirror::Mirror;

const CONTENT_DIGEST: &str = "docker-content-digest";
/// How long a mirror that could not be reached is left alone: a build of minutes waits for it a few times at most.
const REST: Duration = Duration::from_mins(1);

/// A host and a repository there.
#[derive(Clone)]
pub(crate) struct Host {
    pub(super) shared: Arc<Registries>,
    base: Url,
    scope: Scope,
    mirror: Option<MirrorOf>,
}

/// What a mirror knows beyond a registry.
#[derive(Clone)]
struct MirrorOf {
    /// The registry whose images are wanted, as containerd names it to mirrors.
    namespace: String,
    health: Arc<Health>,
}

/// Until when a mirror rests.
#[derive(Default)]
pub(super) struct Health(Mutex<Option<Instant>>);

impl Health {
    fn rest(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now.checked_add(REST);
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}

impl Host {
    /// The registry itself.
    pub(super) fn registry(shared: Arc<Registries>, base: Url, scope: Scope) -> Self {
        Self { shared, base, scope, mirror: None }
    }

    /// A mirror of `registry`; its scope has its own name, so it is sent no other host's credential.
    pub(super) fn mirror(
        shared: Arc<Registries>,
        mirror: &Mirror,
        health: Arc<Health>,
        registry: &str,
        repository: &str,
    ) -> Self {
        let scope = Scope { registry: mirror.host(), repository: repository.to_owned() };
        let of = MirrorOf { namespace: registry.to_owned(), health };
        Self { shared, base: mirror.base().clone(), scope, mirror: Some(of) }
    }

    /// `HOST[:PORT]`, for messages.
    pub(super) fn address(&self) -> String {
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.base.host_str().unwrap_or_default())
    }

    /// Whether it is a mirror that is not to be asked now.
    pub(super) fn is_resting(&self) -> bool {
        self.mirror.as_ref().is_some_and(|mirror| mirror.health.is_resting(Instant::now()))
    }

    /// Whether another host is asked when this one fails.
    pub(super) fn is_mirror(&self) -> bool {
        self.mirror.is_some()
    }

    /// A mirror is not waited for: what it would do later, the registry does now.
    pub(super) fn retry(&self) -> RetryPolicy {
        let attempts = if self.is_mirror() { 1 } else { self.shared.retry.attempts };
        RetryPolicy { attempts, ..self.shared.retry }
    }

    /// Notes that the next host is asked because of `error`.
    pub(crate) fn pass_over(&self, error: &(dyn Error + 'static)) {
        let error = causes(error);
        tracing::info!(mirror = %endpoint::display(&self.base), error, "a mirror failed, the next host is asked");
    }

    /// Lets a mirror rest that cannot be reached or is overloaded; what it merely lacks is no reason.
    pub(super) fn note(&self, error: &RegistryError) {
        let Some(mirror) = &self.mirror else { return };
        let unreachable = error.is_transient() || error.is_tls();
        if unreachable && !mirror.health.is_resting(Instant::now()) {
            mirror.health.rest(Instant::now());
            let error = causes(error);
            tracing::warn!(mirror = %endpoint::display(&self.base), error, rest = ?REST, "a mirror is left out");
        }
    }

    /// The index or manifest that `reference`, a tag or a digest, names.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Document, RegistryError> {
        let url = self.url("manifests", reference)?;
        let limit = self.shared.http.timeouts.document;
        let mut backoff = Backoff::new(self.retry());
        loop {
            let outcome = timeout(limit, self.manifest_once(&url)).await;
            match outcome.unwrap_or_else(|_| Err(RegistryError::slow(&url, limit))) {
                Ok(document) => return Ok(document),
                Err(error) => {
                    self.note(&error);
                    backoff.wait(error).await?;
                }
            }
        }
    }

    async fn manifest_once(&self, url: &Url) -> Result<Document, RegistryError> {
        let accept = HeaderValue::from_str(&media_type::MANIFESTS.join(", "));
        let headers = accept.into_iter().map(|value| (ACCEPT, value)).collect();
        let response = self.get(url, headers).await?;
        let text = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (media_type, digest) = (text(CONTENT_TYPE.as_str()), text(CONTENT_DIGEST));
        let bytes = self.shared.http.collect(response, "manifest", MAX_MANIFEST).await?;
        Ok(Document { bytes, media_type, digest, url: endpoint::display(url) })
    }

    /// `/v2/REPOSITORY/KIND/REFERENCE`, at a mirror with the registry that is meant.
    pub(super) fn url(&self, kind: &str, reference: &str) -> Result<Url, RegistryError> {
        let path = format!("v2/{}/{kind}/{reference}", self.scope.repository);
        let url = self.base.join(&path);
        let mut url = url.map_err(|_| RegistryError::Address(self.scope.registry.clone()))?;
        if let Some(mirror) = &self.mirror {
            url.query_pairs_mut().append_pair("ns", &mirror.namespace);
        }
        Ok(url)
    }

    /// One request, with what the registry asks for to let us in: a 401 is answered once.
    pub(super) async fn get(&self, url: &Url, mut headers: HeaderMap) -> Result<Response, RegistryError> {
        // A body that is compressed on the way would have another digest.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let pass = self.shared.authority.known(&self.scope, &self.base).await?;
        let response = self.send(url, &headers, pass.as_ref()).await?;
        let Some(challenge) = self.challenge(&response)? else {
            return failure::accept(response, access(pass.as_ref()), &self.shared.http).await;
        };
        let pass = self.shared.authority.answer(&self.scope, &self.base, challenge, pass.as_ref()).await?;
        let response = self.send(url, &headers, Some(&pass)).await?;
        failure::accept(response, access(Some(&pass)), &self.shared.http).await
    }

    async fn send(
        &self,
        url: &Url,
        headers: &HeaderMap,
        pass: Option<&Pass>,
    ) -> Result<Response, RegistryError> {
        let mut headers = headers.clone();
        if let Some(pass) = pass {
            pass.authorize(&mut headers);
        }
        self.shared.http.get(url, headers).await
    }

    /// What a 401 asks for. Only the registry itself may ask: a host that it redirects to could name a token server
    /// of its own and be sent the credential.
    fn challenge(&self, response: &Response) -> Result<Option<Challenge>, RegistryError> {
        let own = response.url().origin() == self.base.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(None);
        }
        Challenge::read(response.headers())
            .map(Some)
            .ok_or_else(|| RegistryError::Challenge(self.scope.registry.clone()))
    }
}

fn access(pass: Option<&Pass>) -> Access {
    pass.map_or(Access::Anonymous, Pass::access)
}

/// An error with its causes, for a field of an event.
fn causes(error: &(dyn Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scope.name())
    }
}
