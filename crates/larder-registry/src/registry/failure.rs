//! What goes wrong between a registry and us, which of it may pass, and how a refusal is read.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use larder_core::ByteSize;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::http::Http;
use crate::credentials::CredentialError;
use crate::{endpoint, foreign_text};

/// The most that is read of an error's body, in bytes.
const MAX_ERROR_BODY: u64 = 64 << 10;

/// As whom a request was made; says in errors what to look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No credential was found, or none was asked for.
    Anonymous,
    /// With the credential that was found.
    Credential,
}

/// Why a registry gave no answer, or not the one that was asked for. URLs are without their query.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The HTTP client cannot be set up.
    #[error("cannot set up HTTP")]
    Setup(#[source] reqwest::Error),
    /// The registry's name makes no URL.
    #[error("{0:?} is not the address of a registry")]
    Address(String),
    /// No connection, or it broke before the answer.
    #[error("cannot get {url}")]
    Send {
        /// That was asked.
        url: String,
        /// What the HTTP client said.
        #[source]
        source: reqwest::Error,
    },
    /// The host's certificate is not one to trust.
    #[error("the certificate that {url} shows is not trusted (--ca-cert adds the authority that issued it)")]
    Certificate {
        /// That was asked.
        url: String,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// The TLS handshake failed: most often there is no TLS at all.
    #[error("no TLS connection for {url} (does the registry speak plain HTTP only?)")]
    Tls {
        /// That was asked.
        url: String,
        /// What the HTTP client said.
        #[source]
        source: reqwest::Error,
    },
    /// No headers came.
    #[error("{url} gave no answer within {after:?}")]
    NoAnswer {
        /// That was asked.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// A body stopped coming.
    #[error("{url} sent nothing for {after:?}")]
    Stalled {
        /// That was asked.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// A manifest or token came too slowly.
    #[error("{url} took longer than {after:?}")]
    Slow {
        /// That was asked.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// The connection broke within a body.
    #[error("{url} broke off")]
    Broken {
        /// That was asked.
        url: String,
        /// What the HTTP client said.
        #[source]
        source: reqwest::Error,
    },
    /// A body ended too early without an error.
    #[error("{url} ended after {received} of {expected} bytes")]
    Short {
        /// That was asked.
        url: String,
        /// Bytes so far.
        received: u64,
        /// Bytes of the blob.
        expected: u64,
    },
    /// A status that is no success.
    #[error("{url} answered {status}{}{}", told(text), hint(*status, *access))]
    Status {
        /// That answered, after redirects.
        url: String,
        /// Of HTTP.
        status: StatusCode,
        /// The registry's own words; may be empty.
        text: String,
        /// As whom it was asked.
        access: Access,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The blob there has another length: another blob, or a page for people.
    #[error("{url} answered with {found} bytes of {media_type:?} where the blob has {expected}")]
    Length {
        /// That answered, after redirects.
        url: String,
        /// `Content-Length`.
        found: u64,
        /// Bytes of the blob.
        expected: u64,
        /// `Content-Type`.
        media_type: String,
    },
    /// Another part than the one that was asked for.
    #[error("{url} was asked for the bytes from {offset} on, but answered with {range:?}")]
    Range {
        /// That answered, after redirects.
        url: String,
        /// First byte that was asked for.
        offset: u64,
        /// `Content-Range`.
        range: String,
    },
    /// More bytes than Larder reads of its kind.
    #[error("the {what} at {url} is larger than the limit of {limit}")]
    TooLarge {
        /// `manifest` or `token`.
        what: &'static str,
        /// That was asked.
        url: String,
        /// In bytes.
        limit: ByteSize,
    },
    /// A 401 without a challenge that Larder can answer.
    #[error("{0} asks for a kind of authentication other than Bearer and Basic")]
    Challenge(String),
    /// The registry asks for a user name and a password, and there are none.
    #[error("{0} asks for a user name and a password, and no credential for it was found")]
    NoPassword(String),
    /// The token server's URL is not one that may be sent a credential.
    #[error("{registry} names the token server {realm:?}, which is not an https URL")]
    Realm {
        /// That named it.
        registry: String,
        /// Its URL.
        realm: String,
    },
    /// The token server's answer holds no token.
    #[error("{url} answered without a token that can be used")]
    Token {
        /// The token server's.
        url: String,
    },
    /// Looking for a credential failed.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The last of several failures.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// Requests made.
        attempts: u32,
        /// Why the last one failed.
        #[source]
        source: Box<RegistryError>,
    },
}

impl RegistryError {
    /// A request that was not answered; tells a handshake that will never succeed from a connection that may.
    pub(super) fn send(url: &Url, error: reqwest::Error) -> Self {
        // The URL in it may be that of a redirect, signature included.
        let (url, source) = (endpoint::display(url), error.without_url());
        match tls_failure(&source) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                let source = rustls::Error::InvalidCertificate(reason.clone());
                Self::Certificate { url, source }
            }
            Some(_) => Self::Tls { url, source },
            None => Self::Send { url, source },
        }
    }

    /// A document that took too long as a whole.
    pub(super) fn slow(url: &Url, after: Duration) -> Self {
        Self::Slow { url: endpoint::display(url), after }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::Short { .. } => true,
            Self::Send { source, .. } => !source.is_redirect() && !source.is_builder(),
            Self::Status { status, .. } => is_transient(*status),
            Self::Credential(error) => error.is_passing(),
            Self::Setup(_)
            | Self::Address(_)
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::Length { .. }
            | Self::Range { .. }
            | Self::TooLarge { .. }
            | Self::Challenge(_)
            | Self::NoPassword(_)
            | Self::Realm { .. }
            | Self::Token { .. }
            | Self::GaveUp { .. } => false,
        }
    }

    /// Whether the other side and we could not agree on TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Certificate { .. })
    }

    /// How long the registry asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "no credential was sent",
            Self::Credential => "a credential was sent",
        })
    }
}

fn told(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// For the statuses where it matters who asked; some registries answer 404 for what is private.
fn hint(status: StatusCode, access: Access) -> String {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => format!(" ({access})"),
        _ => String::new(),
    }
}

fn is_transient(status: StatusCode) -> bool {
    let lasting = [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED];
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        status => status.is_server_error() && !lasting.contains(&status),
    }
}

/// What rustls could not accept while connecting; none where the connection itself failed.
fn tls_failure(error: &reqwest::Error) -> Option<&rustls::Error> {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.filter(|_| error.is_connect()).find_map(|cause| within(cause.downcast_ref()?))
}

/// rustls' errors come within I/O errors; an I/O error within an I/O error is not among its sources.
fn within(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| within(inner.downcast_ref()?))
}

/// Lets a success through and reads everything else as an error.
pub(super) async fn accept(
    response: Response,
    access: Access,
    http: &Http,
) -> Result<Response, RegistryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = endpoint::display(response.url());
    let retry_after = retry_after(response.headers(), SystemTime::now());
    // The status is the error; a body that does not come only leaves its words out.
    let body = timeout(http.timeouts.stall, http.collect(response, "error", MAX_ERROR_BODY)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    Err(RegistryError::Status { url, status, text: words(&body), access, retry_after })
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The code and message of the distribution protocol's errors, or a token server's; empty for anything else.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Item>,
        #[serde(flatten)]
        single: Item,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(alias = "error")]
        code: Option<String>,
        #[serde(alias = "error_description", alias = "details")]
        message: Option<String>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return String::new() };
    let items = body.errors.into_iter().chain([body.single]);
    let items = items.map(|Item { code, message }| [code, message].into_iter().flatten().collect::<Vec<_>>());
    let items = items.filter(|words| !words.is_empty()).map(|words| words.join(": "));
    foreign_text::one_line(&items.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_found_in_its_errors() {
        let table = [
            (r#"{"errors":[{"code":"DENIED","message":"no\naccess","detail":{}}]}"#, "DENIED: no access"),
            (r#"{"errors":[{"code":"A"},{"message":"b"}]}"#, "A; b"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "invalid_grant: expired"),
            ("<html>", ""),
            ("{}", ""),
            ("", ""),
        ];
        for (body, expected) in table {
            assert_eq!(words(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_date() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 10:00:00 GMT").unwrap();
        let asked = |value: &'static str| {
            let value = reqwest::header::HeaderValue::from_static(value);
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now)
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sat, 21 Nov 2026 10:01:00 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(asked("Sat, 21 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn only_what_may_pass_is_worth_another_request() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(is_transient(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [307, 400, 401, 403, 404, 405, 406, 416, 501, 505] {
            assert!(!is_transient(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }

    #[test]
    fn a_refusal_says_who_asked() {
        let error = |status, access| {
            let (url, text) = ("https://a/v2/".to_owned(), "DENIED".to_owned());
            RegistryError::Status { url, status, text, access, retry_after: None }.to_string()
        };
        assert_eq!(
            error(StatusCode::FORBIDDEN, Access::Anonymous),
            "https://a/v2/ answered 403 Forbidden: DENIED (no credential was sent)"
        );
        assert_eq!(
            error(StatusCode::BAD_GATEWAY, Access::Credential),
            "https://a/v2/ answered 502 Bad Gateway: DENIED"
        );
    }
}
