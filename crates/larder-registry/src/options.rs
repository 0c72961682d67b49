//! How a client is set up: which registries go without TLS, where credentials are, how long anything may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::TokenSource;
use crate::endpoint;
use crate::mirror::Mirror;
use crate::registry::{RangePolicy, RetryPolicy};

/// How a [`crate::Client`] works; the default suits the internet.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Registries that are spoken to over plain HTTP. Loopback hosts are not implied.
    pub plain_http: PlainHttp,
    /// Files with PEM certificates of authorities to trust beside the system's.
    pub ca_certs: Vec<PathBuf>,
    /// Asked in this order, before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// Asked before the files with credentials, each for the registries that are its own.
    pub token_sources: Vec<Arc<dyn TokenSource>>,
    /// The only file to take credentials from. Without it: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`,
    /// then podman's `$XDG_RUNTIME_DIR/containers/auth.json`, as far as they exist.
    pub docker_config: Option<PathBuf>,
    /// What a client waits for, and how long.
    pub timeouts: Timeouts,
    /// How often a failed request is repeated.
    pub retry: RetryPolicy,
    /// When a blob is fetched in parts.
    pub ranges: RangePolicy,
}

/// Which registries are spoken to over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// These hosts: `HOST:PORT`, or `HOST` for every port of it.
    Hosts(Vec<String>),
    /// Every registry.
    All,
}

/// The longest that a client waits for each kind of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To reach a host, TLS handshake included.
    pub connect: Duration,
    /// From a request to the answer's headers, redirects included.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
    /// For the whole of a manifest or a token, so that no server drips one out for ever.
    pub document: Duration,
    /// For a credential helper, which may ask a person or a cloud.
    pub helper: Duration,
}

impl Default for PlainHttp {
    fn default() -> Self {
        Self::Hosts(Vec::new())
    }
}

impl PlainHttp {
    /// Whether `host`, with its port if it has one, is spoken to over plain HTTP.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Hosts(hosts) => {
                let any_port = endpoint::split_port(host).0;
                hosts
                    .iter()
                    .any(|entry| entry.eq_ignore_ascii_case(host) || entry.eq_ignore_ascii_case(any_port))
            }
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            // A registry that fetches from another one first takes its time.
            answer: Duration::from_mins(1),
            stall: Duration::from_secs(30),
            document: Duration::from_mins(2),
            helper: Duration::from_mins(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_covers_what_was_named_and_nothing_else() {
        let hosts = PlainHttp::Hosts(vec!["a.example".to_owned(), "127.0.0.1:5000".to_owned()]);
        for host in ["a.example", "a.example:5000", "A.example", "127.0.0.1:5000"] {
            assert!(hosts.covers(host), "{host}");
        }
        for host in ["127.0.0.1:5001", "127.0.0.1", "b.a.example", "localhost"] {
            assert!(!hosts.covers(host), "{host}");
        }
        assert!(!PlainHttp::default().covers("localhost:5000"));
        assert!(PlainHttp::All.covers("anything"));
    }
}
