//! Tokens of a Google service account, from the metadata server of the machine (or pod) that this runs on.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Secret;
use super::source::{Token, TokenAnswer, TokenError, TokenSource};

/// Names another metadata server, as in Google's own libraries: `HOST[:PORT]`.
const METADATA_HOST: &str = "GCE_METADATA_HOST";
const DEFAULT_METADATA_HOST: &str = "metadata.google.internal";
const TOKEN_PATH: &str = "computeMetadata/v1/instance/service-accounts/default/token";
const FLAVOR: &str = "metadata-flavor";
const GOOGLE: &str = "Google";
/// What Google's registries take an access token under.
const USERNAME: &str = "oauth2accesstoken";
/// The server answers at once or not at all; GKE's may be some seconds late in a new pod.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes; tokens have 1 KiB.
const MAX_ANSWER: usize = 64 << 10;
/// A token is renewed so long before it expires: the server has a new one five minutes ahead.
const MARGIN: Duration = Duration::from_secs(225);

/// The default service account's tokens, for Google's registries and no other.
#[derive(Debug)]
pub struct GoogleTokens {
    host: String,
    http: reqwest::Client,
    /// Held while a token is fetched, so that everybody waits for the same one.
    latest: Mutex<Option<Token>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// The HTTP client cannot be set up.
    #[error("cannot set up HTTP for Google's metadata server")]
    Setup(#[source] reqwest::Error),
    /// No answer.
    #[error(
        "no Google token: the metadata server at {host} cannot be reached (is this a machine of Google Cloud?)"
    )]
    Away {
        /// The server.
        host: String,
        /// What the HTTP client said.
        #[source]
        source: reqwest::Error,
    },
    /// A status that is no success.
    #[error("no Google token: the metadata server at {host} answered {status}{}", hint(*status))]
    Status {
        /// The server.
        host: String,
        /// Of HTTP.
        status: StatusCode,
    },
    /// Another server, such as a hotel's, or an answer without a token.
    #[error("no Google token: {host} does not answer as Google's metadata server does")]
    Answer {
        /// The server.
        host: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    /// In seconds.
    expires_in: u64,
}

impl GoogleTokens {
    /// Asks the server that `GCE_METADATA_HOST` names, or the usual one; nothing is asked yet.
    pub fn from_environment() -> Result<Self, GoogleError> {
        let named = std::env::var(METADATA_HOST).ok().filter(|host| !host.is_empty());
        Self::new(named.unwrap_or_else(|| DEFAULT_METADATA_HOST.to_owned()))
    }

    /// Asks the server at `host`, which is `HOST[:PORT]`.
    pub fn new(host: String) -> Result<Self, GoogleError> {
        // A token must not pass through a proxy, nor follow a redirect; the server is on this very machine.
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.tls_certs_only([]).timeout(PATIENCE).build().map_err(GoogleError::Setup)?;
        Ok(Self { host, http, latest: Mutex::default() })
    }

    async fn current(&self) -> Result<Token, GoogleError> {
        let mut latest = self.latest.lock().await;
        if let Some(token) = latest.as_ref().filter(|token| token.is_good(Instant::now())) {
            return Ok(token.clone());
        }
        let token = self.fetch().await?;
        *latest = Some(token.clone());
        Ok(token)
    }

    async fn fetch(&self) -> Result<Token, GoogleError> {
        let host = || self.host.clone();
        let away = |source: reqwest::Error| GoogleError::Away { host: host(), source: source.without_url() };
        let asked = Instant::now();
        let request = self.http.get(format!("http://{}/{TOKEN_PATH}", self.host)).header(FLAVOR, GOOGLE);
        let mut response = request.send().await.map_err(away)?;
        if !response.status().is_success() {
            return Err(GoogleError::Status { host: host(), status: response.status() });
        }
        if !is_googles(&response) {
            return Err(GoogleError::Answer { host: host() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(GoogleError::Answer { host: host() });
            }
        }
        let Answer { access_token, expires_in } =
            serde_json::from_slice(&body).map_err(|_| GoogleError::Answer { host: host() })?;
        Ok(Token::new(USERNAME, access_token.0, asked.checked_add(usable(expires_in))))
    }
}

impl TokenSource for GoogleTokens {
    fn token<'a>(&'a self, registry: &'a str, _repository: &'a str) -> TokenAnswer<'a> {
        Box::pin(async move {
            if !is_google_registry(registry) {
                return Ok(None);
            }
            self.current().await.map(Some).map_err(TokenError::from)
        })
    }
}

impl From<GoogleError> for TokenError {
    fn from(error: GoogleError) -> Self {
        if error.is_passing() { Self::Passing(error.into()) } else { Self::Lasting(error.into()) }
    }
}

impl GoogleError {
    fn is_passing(&self) -> bool {
        match self {
            Self::Away { source, .. } => source.is_timeout(),
            Self::Status { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            Self::Setup(_) | Self::Answer { .. } => false,
        }
    }
}

impl Token {
    fn is_good(&self, now: Instant) -> bool {
        self.renew_at.is_none_or(|renew_at| now < renew_at)
    }
}

/// Whether `registry` belongs to Google: its own names only, and no port, for Google's have none.
fn is_google_registry(registry: &str) -> bool {
    let host = registry.to_ascii_lowercase();
    host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev")
}

fn is_googles(response: &Response) -> bool {
    response.headers().get(FLAVOR).is_some_and(|value| value.as_bytes() == GOOGLE.as_bytes())
}

/// How long a token is used that lives for `seconds`; half of a life that is shorter than the margin.
fn usable(seconds: u64) -> Duration {
    let life = Duration::from_secs(seconds);
    life.saturating_sub(MARGIN).max(life / 2)
}

fn hint(status: StatusCode) -> &'static str {
    if status == StatusCode::NOT_FOUND { " (does this machine have a service account?)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_registries_are_told_from_those_that_sound_like_them() {
        for registry in ["gcr.io", "eu.gcr.io", "mirror.gcr.io", "us-docker.pkg.dev", "US-docker.PKG.dev"] {
            assert!(is_google_registry(registry), "{registry}");
        }
        let others =
            ["evil-gcr.io", "gcr.io.evil.example", "evilpkg.dev", "pkg.dev", "gcr.io:5000", "docker.io", ""];
        for registry in others {
            assert!(!is_google_registry(registry), "{registry}");
        }
    }

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        assert_eq!(usable(3600), Duration::from_secs(3375));
        assert_eq!(usable(300), Duration::from_secs(150));
        assert_eq!(usable(0), Duration::ZERO);
    }
}
