//! Requests and bodies with a limit on every wait and every size. Knows nothing of registries.

use bytes::{Bytes, BytesMut};
use larder_core::ByteSize;
use reqwest::header::HeaderMap;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, Url};
use tokio::time::timeout;

use super::RegistryError;
use crate::endpoint;
use crate::options::Timeouts;

const USER_AGENT: &str = concat!("larder/", env!("CARGO_PKG_VERSION"));
/// Registry to storage, and a hop or two between regions; more is a loop.
const MAX_REDIRECTS: usize = 5;

/// Connections, shared by all requests.
#[derive(Clone)]
pub(crate) struct Http {
    content: Client,
    tokens: Client,
    pub(super) timeouts: Timeouts,
}

impl Http {
    /// Trusts the system's authorities and those of `extra`. Connects to nothing yet.
    pub(crate) fn new(timeouts: Timeouts, extra: &[Certificate]) -> Result<Self, RegistryError> {
        // reqwest takes the Authorization header off a redirect to another host, port or scheme.
        let content = build(&timeouts, extra, || Policy::limited(MAX_REDIRECTS))?;
        let tokens = build(&timeouts, extra, || Policy::custom(within_origin))?;
        Ok(Self { content, tokens, timeouts })
    }

    /// Asks for a manifest or a blob; any status is an answer.
    pub(super) async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Response, RegistryError> {
        self.send(url, self.content.get(url.clone()).headers(headers)).await
    }

    /// Asks for a token by GET.
    pub(super) async fn get_token(&self, url: &Url, headers: HeaderMap) -> Result<Response, RegistryError> {
        self.send(url, self.tokens.get(url.clone()).headers(headers)).await
    }

    /// Asks for a token by POST.
    pub(super) async fn post_token(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: String,
    ) -> Result<Response, RegistryError> {
        self.send(url, self.tokens.post(url.clone()).headers(headers).body(body)).await
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, RegistryError> {
        match timeout(self.timeouts.answer, request.send()).await {
            Ok(answer) => answer.map_err(|error| RegistryError::send(url, error)),
            Err(_) => {
                Err(RegistryError::NoAnswer { url: endpoint::display(url), after: self.timeouts.answer })
            }
        }
    }

    /// The next piece of a body, none at its end.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, RegistryError> {
        let url = |response: &Response| endpoint::display(response.url());
        match timeout(self.timeouts.stall, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(RegistryError::Broken { url: url(response), source: error.without_url() }),
            Err(_) => Err(RegistryError::Stalled { url: url(response), after: self.timeouts.stall }),
        }
    }

    /// The whole of a small body, which is a `what`.
    pub(super) async fn collect(
        &self,
        mut response: Response,
        what: &'static str,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                let url = endpoint::display(response.url());
                return Err(RegistryError::TooLarge { what, url, limit: ByteSize(limit) });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

fn build(
    timeouts: &Timeouts,
    extra: &[Certificate],
    redirects: impl Fn() -> Policy,
) -> Result<Client, RegistryError> {
    let builder = || base(timeouts).redirect(redirects());
    let trusting = builder().tls_certs_merge(extra.iter().cloned());
    trusting.build().or_else(|error| {
        // A system without CA certificates can still reach plain HTTP; a TLS peer is then refused when it is met.
        tracing::warn!(%error, "no CA certificates: only plain HTTP will work");
        builder().tls_certs_only([]).build().map_err(RegistryError::Setup)
    })
}

/// HTTP/1 only: large blobs side by side on one HTTP/2 connection would share its window and the one task that
/// decrypts it, while each blob on a connection of its own has both to itself.
fn base(timeouts: &Timeouts) -> ClientBuilder {
    Client::builder().user_agent(USER_AGENT).connect_timeout(timeouts.connect).http1_only()
}

/// A token request may carry a credential in its body, which no one takes off on the way to another host.
fn within_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}
