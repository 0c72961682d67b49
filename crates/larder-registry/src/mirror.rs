//! What a person types to name a mirror. Parsing only; which requests go there is the registry module's business.

use std::str::FromStr;

use reqwest::Url;

use crate::endpoint;

/// A place that has what another registry has, and is asked first: `HOST=URL`.
///
/// It is asked as containerd asks its mirrors: below `/v2/` of the URL, with `?ns=HOST`, and with the credential of the
/// mirror's own host alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Whose images it has, as in references.
    registry: String,
    /// The root of its API, with a slash at the end.
    base: Url,
}

/// Why a text names no mirror.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MirrorError {
    /// There is no `=`, or nothing before it.
    #[error("{0:?}: expected HOST=URL")]
    Form(String),
    /// What follows `=` is no URL of HTTP.
    #[error("{0:?} is not an http or https URL")]
    Url(String),
    /// A URL is shown in messages and process lists.
    #[error("the URL of a mirror for {0} must not hold a credential, a query or a fragment")]
    Extra(String),
}

impl Mirror {
    /// The root of its API.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Its own `HOST[:PORT]`.
    pub(crate) fn host(&self) -> String {
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.base.host_str().unwrap_or_default())
    }

    /// Whether it has the images of `registry`.
    pub(crate) fn serves(&self, registry: &str) -> bool {
        self.registry == endpoint::canonical_host(registry)
    }
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
        let (registry, url) = parts.ok_or_else(|| MirrorError::Form(text.to_owned()))?;
        let no_url = || MirrorError::Url(url.to_owned());
        let mut base = Url::parse(url).map_err(|_| no_url())?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(no_url());
        }
        let secret = !base.username().is_empty() || base.password().is_some();
        if secret || base.query().is_some() || base.fragment().is_some() {
            return Err(MirrorError::Extra(registry.to_owned()));
        }
        // Some write the URL of the API's version, some that of its root.
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v2").unwrap_or(path);
        base.set_path(&format!("{path}/"));
        Ok(Self { registry: endpoint::canonical_host(registry), base })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_host_and_a_url() {
        let table = [
            ("docker.io=https://mirror.gcr.io", "https://mirror.gcr.io/", "mirror.gcr.io"),
            ("index.docker.io=http://[::1]:5000/v2/", "http://[::1]:5000/", "[::1]:5000"),
            ("DOCKER.io=https://a.example/proxy/hub", "https://a.example/proxy/hub/", "a.example"),
        ];
        for (text, base, host) in table {
            let mirror: Mirror = text.parse().unwrap();
            assert_eq!((mirror.base().as_str(), mirror.host().as_str()), (base, host));
            assert!(mirror.serves("docker.io") && !mirror.serves("a.example"), "{text}");
        }
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        let refused = |text: &str| text.parse::<Mirror>().unwrap_err();
        for text in ["docker.io", "=https://a", "https://a.io/b=https://c"] {
            assert_eq!(refused(text), MirrorError::Form(text.to_owned()));
        }
        for url in ["", "a.example", "ftp://a.example"] {
            assert_eq!(refused(&format!("docker.io={url}")), MirrorError::Url(url.to_owned()));
        }
        for url in ["https://u:p@a", "https://u@a", "https://a/?x", "https://a/#x"] {
            assert_eq!(refused(&format!("a.io={url}")), MirrorError::Extra("a.io".to_owned()));
        }
    }
}
