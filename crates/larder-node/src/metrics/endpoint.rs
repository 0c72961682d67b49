//! Where the aggregator listens, and how it is reached: with or without TLS, with or without a token.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Uri};

use super::token::{BearerToken, TokenError};

/// To reach the aggregator, TLS handshake included; one call may fail and be repeated.
const CONNECT: Duration = Duration::from_secs(5);

/// An aggregator that results can be sent to.
#[derive(Clone, Debug)]
pub struct MetricsEndpoint {
    target: String,
    pub(super) channel: Endpoint,
    pub(super) token: Option<BearerToken>,
}

/// Why an aggregator cannot be spoken to as was asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address is none.
    #[error(
        "{0:?} is not the address of an aggregator: expected HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    )]
    Target(String),
    /// An authority was given for an address that goes without TLS.
    #[error("{0} goes without TLS, so an authority for its certificate makes no sense")]
    PlainWithAuthority(String),
    /// The file with the authority cannot be read.
    #[error("cannot read the CA certificates in {path}", path = .path.display())]
    ReadAuthority {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up with it.
    #[error("cannot set up TLS for {target}")]
    Tls {
        /// The aggregator.
        target: String,
        /// What the client said.
        #[source]
        source: tonic::transport::Error,
    },
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl MetricsEndpoint {
    /// The aggregator at `target`: `HOST:PORT`, as image-prefetcher has it, or an http or https URL. It is spoken to over TLS
    /// where the URL says so or an authority (a PEM file) is named. `token_file` holds the bearer token that it wants.
    pub fn new(
        target: &str,
        authority: Option<&Path>,
        token_file: Option<&Path>,
    ) -> Result<Self, EndpointError> {
        let uri = uri(target, authority.is_some())?;
        let tls = uri.scheme_str() == Some("https");
        let mut channel = Endpoint::from(uri).connect_timeout(CONNECT);
        if tls {
            let broken = |source| EndpointError::Tls { target: target.to_owned(), source };
            channel = channel.tls_config(trust(authority)?).map_err(broken)?;
        }
        let token = token_file.map(BearerToken::read).transpose()?;
        if token.is_some() && !tls {
            tracing::warn!(
                target,
                "the metrics token is sent in clear text: name an https URL or an authority"
            );
        }
        Ok(Self { target: target.to_owned(), channel, token })
    }
}

impl fmt::Display for MetricsEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)
    }
}

fn uri(target: &str, has_authority: bool) -> Result<Uri, EndpointError> {
    let wrong = || EndpointError::Target(target.to_owned());
    let full = match target.split_once("://") {
        Some(("http", _)) if has_authority => {
            return Err(EndpointError::PlainWithAuthority(target.to_owned()));
        }
        Some(("http" | "https", _)) => target.to_owned(),
        Some(_) => return Err(wrong()),
        None if has_authority => format!("https://{target}"),
        None => format!("http://{target}"),
    };
    let uri: Uri = full.parse().map_err(|_| wrong())?;
    let whole = uri.port_u16().is_some_and(|port| port != 0)
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none()
        && matches!(uri.path(), "" | "/");
    if whole { Ok(uri) } else { Err(wrong()) }
}

fn trust(authority: Option<&Path>) -> Result<ClientTlsConfig, EndpointError> {
    Ok(match authority {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(path) => {
            let pem = std::fs::read(path)
                .map_err(|source| EndpointError::ReadAuthority { path: path.to_owned(), source })?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_such_a_url() {
        let table = [
            ("metrics:8443", false, "http://metrics:8443/"),
            ("10.0.0.7:8443", true, "https://10.0.0.7:8443/"),
            ("[::1]:8443", false, "http://[::1]:8443/"),
            ("https://metrics.ns.svc:8443", false, "https://metrics.ns.svc:8443/"),
            ("https://metrics.ns.svc:8443/", true, "https://metrics.ns.svc:8443/"),
            ("http://metrics:8443", false, "http://metrics:8443/"),
        ];
        for (target, authority, expected) in table {
            assert_eq!(uri(target, authority).unwrap().to_string(), expected, "{target}");
        }
        let wrong = [
            "",
            "metrics",
            ":8443",
            "metrics:",
            "metrics:x",
            "metrics:99999",
            "metrics:0",
            "ftp://m:1",
            "m:1/x",
        ];
        for target in wrong.into_iter().chain(["https://m", "u:p@m:1", "a b:1", "unix:///run/m.sock"]) {
            assert!(matches!(uri(target, false), Err(EndpointError::Target(_))), "{target}");
        }
        assert!(matches!(uri("http://m:1", true), Err(EndpointError::PlainWithAuthority(_))));
    }
}
