//! Finds the credential for a repository: in Docker's and podman's files, and from the helpers that they name.
//! Sends nothing: who gets a credential, and how, is the registry module's business.

mod docker_config;
mod google;
mod helper;
mod keyring;
mod matching;
mod plugin;
mod source;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use docker_config::{DockerConfig, Found};

pub use google::{GoogleError, GoogleTokens};
pub use keyring::{Candidates, Keyring, KeyringOptions, PluginPaths, PullSecret, PullSecretForm};
use keyring::{JSON_TYPE, LEGACY_TYPE};
pub use plugin::PluginError;
pub use source::{Token, TokenAnswer, TokenError, TokenSource};

/// A text that must not be printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// The text itself, for the one who it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What proves to a registry who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// For HTTP basic authentication, at the registry or its token server.
    Password {
        /// The account.
        username: String,
        /// Its password, or a token that stands for it.
        password: Secret,
    },
    /// An `OAuth2` refresh token, which only a token server takes.
    IdentityToken(Secret),
}

/// Why the credentials cannot be had. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file that exists, or was named, cannot be read.
    #[error("cannot read the credentials in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not a Docker configuration. The parser's own words may quote secrets, so only the place is kept.
    #[error("{path} is not a Docker configuration file: bad JSON in line {line}, column {column}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// `auth` of an entry that is needed is not base64 of `USER:PASSWORD`.
    #[error("the \"auth\" of {key:?} in {path} is not base64 of USER:PASSWORD")]
    Entry {
        /// The file.
        path: PathBuf,
        /// In `auths`.
        key: String,
    },
    /// A helper's name is a path, or empty.
    #[error("{0:?} is not the name of a credential helper")]
    HelperName(String),
    /// A helper cannot be started or spoken to.
    #[error("cannot run {program}")]
    Run {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A helper did not end in time.
    #[error("{program} has not answered within {after:?}")]
    HelperTimeout {
        /// Its name.
        program: String,
        /// The limit.
        after: Duration,
    },
    /// A helper ended with an error.
    #[error("{program} failed for {server}: {message}")]
    HelperFailed {
        /// Its name.
        program: String,
        /// Whose credential was asked for.
        server: String,
        /// Its last words.
        message: String,
    },
    /// A helper's answer is no credential.
    #[error("{program} gave no credential that can be read for {server}")]
    HelperAnswer {
        /// Its name.
        program: String,
        /// Whose credential was asked for.
        server: String,
    },
    /// A Secret is of a type that has no credentials for registries.
    #[error("secret {name} is of type {kind:?}, and not a pull secret ({JSON_TYPE} or {LEGACY_TYPE})")]
    SecretType {
        /// Its namespace and name.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A pull secret lacks what its type promises.
    #[error("pull secret {name} has no {key}")]
    SecretKey {
        /// Its namespace and name.
        name: String,
        /// The missing key of its data.
        key: &'static str,
    },
    /// A credential-provider plugin failed.
    #[error(transparent)]
    Plugin(#[from] Arc<PluginError>),
    /// A token source failed for a registry of its own.
    #[error(transparent)]
    Source(#[from] TokenError),
}

impl CredentialError {
    /// Whether the same question may be answered later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Source(TokenError::Passing(_)))
    }
}

/// Every place where a credential may be found.
#[derive(Debug)]
pub(crate) struct Credentials {
    sources: Vec<Arc<dyn TokenSource>>,
    configs: Vec<DockerConfig>,
    helper_timeout: Duration,
}

impl Credentials {
    /// Reads `named`, which must exist, or the files of the environment, which need not. `sources` come before them:
    /// they were asked for by name, and know which registries are theirs.
    pub(crate) fn load(
        sources: Vec<Arc<dyn TokenSource>>,
        named: Option<&Path>,
        helper_timeout: Duration,
    ) -> Result<Self, CredentialError> {
        let configs = match named {
            Some(path) => vec![read(path)?.ok_or_else(|| missing(path))?],
            None => usual_files(|name| env::var_os(name))
                .iter()
                .filter_map(|path| read(path).transpose())
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { sources, configs, helper_timeout })
    }

    /// The credential for `repository` of `registry`: that of the first source or file that has one.
    pub(crate) async fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Token>, CredentialError> {
        for source in &self.sources {
            if let Some(token) = source.token(registry, repository).await? {
                return Ok(Some(token));
            }
        }
        for config in &self.configs {
            let found = match config.find(registry, repository)? {
                Found::Nothing => None,
                Found::Credential(credential) => Some(credential),
                Found::Helper { name, server } => helper::get(&name, &server, self.helper_timeout).await?,
            };
            if let Some(credential) = found {
                return Ok(Some(Token { credential, renew_at: None }));
            }
        }
        Ok(None)
    }
}

/// Docker's file, then podman's.
fn usual_files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    let podman = set("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
    docker.map(|dir| dir.join("config.json")).into_iter().chain(podman).collect()
}

/// The configuration in `path`; none where there is no such file.
fn read(path: &Path) -> Result<Option<DockerConfig>, CredentialError> {
    match std::fs::read(path) {
        Ok(bytes) => DockerConfig::parse(path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::Read { path: path.to_owned(), source }),
    }
}

fn missing(path: &Path) -> CredentialError {
    CredentialError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_file_comes_before_podmans() {
        let files = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            usual_files(move |name| {
                pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            })
        };
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]),
            paths(&["/h/.docker/config.json", "/r/containers/auth.json"])
        );
        assert_eq!(files(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")]), paths(&["/d/config.json"]));
        assert_eq!(files(&[("DOCKER_CONFIG", ""), ("HOME", "")]), paths(&[]));
    }

    #[test]
    fn a_named_file_must_exist_and_be_json() {
        let limit = Duration::from_secs(1);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let error = Credentials::load(Vec::new(), Some(&path), limit).unwrap_err();
        assert!(matches!(error, CredentialError::Read { path: named, .. } if named == path));
        std::fs::write(&path, r#"{"auths": {"a": "s3cret"}}"#).unwrap();
        let error = Credentials::load(Vec::new(), Some(&path), limit).unwrap_err();
        assert!(matches!(error, CredentialError::Json { line: 1, .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let credential =
            Credential::Password { username: "u".to_owned(), password: Secret("s3cret".to_owned()) };
        assert!(!format!("{credential:?}").contains("s3cret"));
    }
}
