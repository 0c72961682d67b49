//! Docker's `config.json` and podman's `auth.json`: reading them, and looking up one repository. Opens no file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Credential, CredentialError, Secret, matching};
use crate::endpoint;

/// What helpers know Docker Hub by.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// One file of credentials.
#[derive(Debug)]
pub(super) struct DockerConfig {
    path: PathBuf,
    fields: Fields,
}

/// What a file says about a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The credential itself.
    Credential(Credential),
    /// Which helper to ask, and for which server.
    Helper {
        /// What follows `docker-credential-`.
        name: String,
        /// What to ask it for.
        server: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

/// An empty one is what `docker login` leaves where a helper keeps the credential.
#[derive(Debug, Deserialize)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<Secret>,
}

impl DockerConfig {
    /// Reads the content of `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CredentialError> {
        Ok(Self { path: path.to_owned(), fields: object(path, bytes)? })
    }

    /// Reads the content of `path` in the form that came before: the registries alone, as in `~/.dockercfg`.
    pub(super) fn parse_legacy(path: &Path, bytes: &[u8]) -> Result<Self, CredentialError> {
        let fields = Fields { auths: object(path, bytes)?, ..Fields::default() };
        Ok(Self { path: path.to_owned(), fields })
    }

    /// Everything there is for `repository` of `registry`, by the kubelet's rules of matching, and what of it cannot be read.
    pub(super) fn find_all(&self, registry: &str, repository: &str) -> Vec<Result<Found, CredentialError>> {
        let Fields { auths, cred_helpers, creds_store } = &self.fields;
        let helper = |name: &str| Ok(Found::Helper { name: name.to_owned(), server: server_name(registry) });
        let own = cred_helpers.iter().find(|(key, _)| matching::names_host(key, registry));
        let filled = auths.iter().filter(|(_, entry)| entry.is_filled()).map(|(key, _)| key.as_str());
        let keys = matching::all(filled, registry, repository);
        let store =
            creds_store.as_deref().filter(|name| own.is_none() && keys.is_empty() && !name.is_empty());
        let entries = keys.into_iter().map(|key| {
            let unreadable = || CredentialError::Entry { path: self.path.clone(), key: key.to_owned() };
            auths[key].credential().map(Found::Credential).ok_or_else(unreadable)
        });
        own.map(|(_, name)| helper(name)).into_iter().chain(entries).chain(store.map(helper)).collect()
    }

    /// What there is for `repository` of `registry`: its own helper, else an entry, else the helper for all.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Found, CredentialError> {
        let Fields { auths, cred_helpers, creds_store } = &self.fields;
        let server = || server_name(registry);
        if let Some((_, name)) = cred_helpers.iter().find(|(key, _)| matching::names_host(key, registry)) {
            return Ok(Found::Helper { name: name.clone(), server: server() });
        }
        let filled = auths.iter().filter(|(_, entry)| entry.is_filled()).map(|(key, _)| key.as_str());
        if let Some(key) = matching::closest(filled, registry, repository) {
            let unreadable = || CredentialError::Entry { path: self.path.clone(), key: key.to_owned() };
            return auths[key].credential().map(Found::Credential).ok_or_else(unreadable);
        }
        Ok(match creds_store.as_deref() {
            None | Some("") => Found::Nothing,
            Some(name) => Found::Helper { name: name.to_owned(), server: server() },
        })
    }
}

/// Reads an object of JSON; for serde an array of its values would do as well.
fn object<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, CredentialError> {
    let refused = |line, column| CredentialError::Json { path: path.to_owned(), line, column };
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(refused(1, 1));
    }
    serde_json::from_slice(bytes).map_err(|error| refused(error.line(), error.column()))
}

fn server_name(registry: &str) -> String {
    let name = if endpoint::is_docker_hub(registry) { DOCKER_HUB_SERVER } else { registry };
    name.to_owned()
}

impl Entry {
    fn is_filled(&self) -> bool {
        let filled = |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| !secret.0.is_empty());
        filled(&self.auth) || filled(&self.identity_token) || self.username.is_some()
    }

    fn credential(&self) -> Option<Credential> {
        let filled = |secret: &&Secret| !secret.0.is_empty();
        if let Some(token) = self.identity_token.as_ref().filter(filled) {
            return Some(Credential::IdentityToken(token.clone()));
        }
        match (self.auth.as_ref().filter(filled), &self.username) {
            (Some(auth), _) => decode(auth),
            (None, Some(username)) => {
                let password = self.password.clone().unwrap_or_else(|| Secret(String::new()));
                Some(Credential::Password { username: username.clone(), password })
            }
            (None, None) => None,
        }
    }
}

/// With or without padding, as the kubelet takes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Base64 of `USER:PASSWORD`, perhaps in several lines; Docker itself pads the password with zero bytes.
fn decode(auth: &Secret) -> Option<Credential> {
    let compact: String = auth.0.split_ascii_whitespace().collect();
    let bytes = BASE64.decode(compact).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    let password = Secret(password.trim_end_matches('\0').to_owned());
    Some(Credential::Password { username: username.to_owned(), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(config: &str, registry: &str, repository: &str) -> Result<Found, CredentialError> {
        DockerConfig::parse(Path::new("config.json"), config.as_bytes()).unwrap().find(registry, repository)
    }

    fn password(username: &str, password: &str) -> Found {
        let (username, password) = (username.to_owned(), Secret(password.to_owned()));
        Found::Credential(Credential::Password { username, password })
    }

    fn helper(name: &str, server: &str) -> Found {
        Found::Helper { name: name.to_owned(), server: server.to_owned() }
    }

    #[test]
    fn entries_come_in_three_forms() {
        // dTpwOnc= is u:p:w, dTpwAAA= is u:p and two zero bytes.
        let config = r#"{"auths": {
            "a.io": {"auth": "dTpwOnc="}, "b.io": {"auth": "dTpwAAA="},
            "c.io": {"username": "u", "password": "p"},
            "d.io": {"auth": "dTpw", "identitytoken": "t"},
            "e.io": {}, "f.io": {"auth": "?"}, "g.io": {"auth": "dXA="}
        }, "unknown": 1}"#;
        assert_eq!(find(config, "a.io", "x").unwrap(), password("u", "p:w"));
        assert_eq!(find(config, "b.io", "x").unwrap(), password("u", "p"));
        assert_eq!(find(config, "c.io", "x").unwrap(), password("u", "p"));
        let token = Credential::IdentityToken(Secret("t".to_owned()));
        assert_eq!(find(config, "d.io", "x").unwrap(), Found::Credential(token));
        assert_eq!(find(config, "e.io", "x").unwrap(), Found::Nothing);
        for registry in ["f.io", "g.io"] {
            assert!(matches!(find(config, registry, "x"), Err(CredentialError::Entry { .. })), "{registry}");
        }
        assert_eq!(find(config, "other.io", "x").unwrap(), Found::Nothing);
    }

    #[test]
    fn base64_may_lack_its_padding_and_have_line_breaks() {
        for auth in ["dTpwOnc=", "dTpwOnc", " dTpw\\nOnc=\\n"] {
            let config = format!(r#"{{"auths": {{"a.io": {{"auth": "{auth}"}}}}}}"#);
            assert_eq!(find(&config, "a.io", "x").unwrap(), password("u", "p:w"), "{auth}");
        }
    }

    #[test]
    fn a_registrys_own_helper_comes_before_an_entry_and_that_before_the_helper_for_all() {
        let config = r#"{
            "auths": {"a.io": {"auth": "dTpw"}, "b.io": {"auth": "dTpw"}, "c.io": {}},
            "credHelpers": {"a.io": "own"}, "credsStore": "all"
        }"#;
        assert_eq!(find(config, "a.io", "x").unwrap(), helper("own", "a.io"));
        assert_eq!(find(config, "b.io", "x").unwrap(), password("u", "p"));
        assert_eq!(find(config, "c.io", "x").unwrap(), helper("all", "c.io"));
        assert_eq!(find(config, "docker.io", "x").unwrap(), helper("all", DOCKER_HUB_SERVER));
    }
}
