//! A client of the OCI distribution protocol, as far as pulling needs it: manifests and blobs of one repository.
//! Proves no digest: what comes out is what the registry said.

mod auth;
mod blob;
mod challenge;
mod failure;
mod http;
mod retry;
mod token;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use larder_core::{ImageRef, media_type};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use crate::credentials::Credentials;
use crate::document::MAX_MANIFEST;
use crate::endpoint;
use crate::options::{PlainHttp, Timeouts};

use auth::{Authority, Pass};
use challenge::Challenge;
use http::Http;
use retry::Backoff;

pub(crate) use blob::BlobStream;
pub use failure::{Access, RegistryError};
pub use retry::RetryPolicy;

const CONTENT_DIGEST: &str = "docker-content-digest";

/// What all repositories of a client share: connections, tokens, patience.
pub(crate) struct Registries {
    http: Http,
    authority: Authority,
    plain_http: PlainHttp,
    retry: RetryPolicy,
}

/// One repository of one registry.
#[derive(Clone)]
pub(crate) struct Repository {
    shared: Arc<Registries>,
    base: Url,
    scope: Scope,
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
        credentials: Credentials,
        plain_http: PlainHttp,
        timeouts: Timeouts,
        retry: RetryPolicy,
    ) -> Result<Self, RegistryError> {
        let http = Http::new(timeouts)?;
        let authority = Authority::new(http.clone(), credentials, plain_http.clone());
        Ok(Self { http, authority, plain_http, retry })
    }

    /// The repository that `reference` is in.
    pub(crate) fn repository(self: &Arc<Self>, reference: &ImageRef) -> Result<Repository, RegistryError> {
        let scope = Scope {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
        };
        let base = endpoint::base_url(&scope.registry, &self.plain_http)
            .ok_or_else(|| RegistryError::Address(scope.registry.clone()))?;
        Ok(Repository { shared: Arc::clone(self), base, scope })
    }
}

impl Repository {
    /// The index or manifest that `reference`, a tag or a digest, names.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Document, RegistryError> {
        let url = self.url("manifests", reference)?;
        let limit = self.shared.http.timeouts.document;
        let mut backoff = Backoff::new(self.shared.retry);
        loop {
            let outcome = timeout(limit, self.manifest_once(&url)).await;
            match outcome.unwrap_or_else(|_| Err(RegistryError::slow(&url, limit))) {
                Ok(document) => return Ok(document),
                Err(error) => backoff.wait(error).await?,
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

    /// `/v2/REPOSITORY/KIND/REFERENCE`.
    fn url(&self, kind: &str, reference: &str) -> Result<Url, RegistryError> {
        let path = format!("v2/{}/{kind}/{reference}", self.scope.repository);
        self.base.join(&path).map_err(|_| RegistryError::Address(self.scope.registry.clone()))
    }

    /// One request, with what the registry asks for to let us in: a 401 is answered once.
    async fn get(&self, url: &Url, mut headers: HeaderMap) -> Result<Response, RegistryError> {
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

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.scope, f)
    }
}
