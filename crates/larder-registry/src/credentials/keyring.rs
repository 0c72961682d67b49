//! All credentials that a pull of an image may be tried with, as the kubelet collects them: pull secrets, then plugins. Several
//! may fit; who pulls tries them in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use larder_core::ImageRef;

use super::docker_config::{DockerConfig, Found};
use super::plugin::{self, Plugin};
use super::{Credential, CredentialError, helper, missing, read};

/// For a credential helper that a docker configuration names.
const HELPER: Duration = Duration::from_mins(1);
/// The keys of a Secret's data, which are the names of files where it is mounted.
const JSON_KEY: &str = ".dockerconfigjson";
const LEGACY_KEY: &str = ".dockercfg";
/// The types of Secrets that have them.
pub(super) const JSON_TYPE: &str = "kubernetes.io/dockerconfigjson";
pub(super) const LEGACY_TYPE: &str = "kubernetes.io/dockercfg";

/// Where credentials are taken from.
#[derive(Clone, Debug, Default)]
pub struct KeyringOptions {
    /// Docker configuration files, or directories where a pull secret is mounted.
    pub files: Vec<PathBuf>,
    /// Pull secrets that were read from the Kubernetes API.
    pub secrets: Vec<PullSecret>,
    /// The kubelet's credential-provider plugins.
    pub plugins: Option<PluginPaths>,
}

/// Where the kubelet's plugins are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginPaths {
    /// The `CredentialProviderConfig`.
    pub config: PathBuf,
    /// The directory with the programs.
    pub programs: PathBuf,
}

/// A Kubernetes Secret with credentials for registries.
#[derive(Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// Its namespace and name, for messages.
    pub name: String,
    /// By its type.
    pub form: PullSecretForm,
    /// The value of the one key that the type has, decoded from base64.
    pub data: Vec<u8>,
}

/// The two types of pull secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullSecretForm {
    /// `kubernetes.io/dockerconfigjson`: a `config.json`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`: the registries alone.
    DockerCfg,
}

/// Everything that fits an image.
#[derive(Debug, Default)]
pub struct Candidates {
    /// To be tried in this order; where there are none, the pull goes without.
    pub credentials: Vec<Credential>,
    /// What could not be had. The credentials that could are none the worse.
    pub failures: Vec<CredentialError>,
}

/// Credentials for images.
#[derive(Debug)]
pub struct Keyring {
    configs: Vec<DockerConfig>,
    plugins: Vec<Plugin>,
}

impl std::fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullSecret")
            .field("name", &self.name)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl PullSecret {
    /// A Secret of type `kind` with its data, as a pull secret.
    pub fn of_secret(
        name: String,
        kind: &str,
        mut data: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, CredentialError> {
        let Some(form) = PullSecretForm::of_type(kind) else {
            return Err(CredentialError::SecretType { name, kind: kind.to_owned() });
        };
        match data.remove(form.key()) {
            Some(data) => Ok(Self { name, form, data }),
            None => Err(CredentialError::SecretKey { name, key: form.key() }),
        }
    }
}

impl PullSecretForm {
    /// The form of a Secret of type `kind`; none where that is no type of pull secrets.
    pub fn of_type(kind: &str) -> Option<Self> {
        match kind {
            JSON_TYPE => Some(Self::DockerConfigJson),
            LEGACY_TYPE => Some(Self::DockerCfg),
            _ => None,
        }
    }

    /// The key of the Secret's data.
    pub fn key(self) -> &'static str {
        match self {
            Self::DockerConfigJson => JSON_KEY,
            Self::DockerCfg => LEGACY_KEY,
        }
    }

    fn parse(self, path: &Path, bytes: &[u8]) -> Result<DockerConfig, CredentialError> {
        match self {
            Self::DockerConfigJson => DockerConfig::parse(path, bytes),
            Self::DockerCfg => DockerConfig::parse_legacy(path, bytes),
        }
    }
}

impl Keyring {
    /// Reads files and secrets, and the plugins' configuration. Asks no plugin yet.
    pub fn load(options: &KeyringOptions) -> Result<Self, CredentialError> {
        let KeyringOptions { files, secrets, plugins } = options;
        let mut configs = Vec::new();
        for path in files {
            configs.extend(read_named(path)?);
        }
        for PullSecret { name, form, data } in secrets {
            configs.push(form.parse(Path::new(&format!("pull secret {name}")), data)?);
        }
        let plugins = match plugins {
            None => Vec::new(),
            Some(PluginPaths { config, programs }) => {
                plugin::load(config, programs).map_err(std::sync::Arc::new)?
            }
        };
        Ok(Self { configs, plugins })
    }

    /// What a pull of `image` may be tried with. Plugins that match are asked, all at the same time: up to a minute.
    pub async fn candidates(&self, image: &ImageRef) -> Candidates {
        let mut candidates = Candidates::default();
        for config in &self.configs {
            for found in config.find_all(image.registry(), image.repository()) {
                match found {
                    Ok(Found::Nothing) => {}
                    Ok(Found::Credential(credential)) => candidates.add(credential),
                    Ok(Found::Helper { name, server }) => match helper::get(&name, &server, HELPER).await {
                        Ok(credential) => credential.into_iter().for_each(|one| candidates.add(one)),
                        Err(error) => candidates.failures.push(error),
                    },
                    Err(error) => candidates.failures.push(error),
                }
            }
        }
        let matching = self.plugins.iter().filter(|plugin| plugin.is_for(image));
        for answer in join_all(matching.map(|plugin| plugin.credentials(image))).await {
            match answer {
                Ok(credentials) => credentials.into_iter().for_each(|one| candidates.add(one)),
                Err(error) => candidates.failures.push(error.into()),
            }
        }
        candidates
    }
}

impl Candidates {
    fn add(&mut self, credential: Credential) {
        if !self.credentials.contains(&credential) {
            self.credentials.push(credential);
        }
    }
}

/// The configurations at `path`, which must exist: a file of either form, or a mounted secret.
fn read_named(path: &Path) -> Result<Vec<DockerConfig>, CredentialError> {
    if path.is_dir() {
        let [json, legacy] = [JSON_KEY, LEGACY_KEY].map(|key| path.join(key));
        let both = [read(&json)?, read_legacy(&legacy)?];
        let found: Vec<DockerConfig> = both.into_iter().flatten().collect();
        return if found.is_empty() { Err(missing(&json)) } else { Ok(found) };
    }
    let is_legacy = path.file_name().is_some_and(|name| name == LEGACY_KEY);
    let config = if is_legacy { read_legacy(path)? } else { read(path)? };
    config.map(|config| vec![config]).ok_or_else(|| missing(path))
}

fn read_legacy(path: &Path) -> Result<Option<DockerConfig>, CredentialError> {
    match std::fs::read(path) {
        Ok(bytes) => DockerConfig::parse_legacy(path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Secret;
    use super::*;

    fn secret(form: PullSecretForm, data: &str) -> PullSecret {
        PullSecret { name: "team/regcred".to_owned(), form, data: data.into() }
    }

    fn json(data: &str) -> PullSecret {
        secret(PullSecretForm::DockerConfigJson, data)
    }

    async fn users(secrets: Vec<PullSecret>, image: &str) -> (Vec<String>, Vec<String>) {
        let keyring = Keyring::load(&KeyringOptions { secrets, ..KeyringOptions::default() }).unwrap();
        let Candidates { credentials, failures } = keyring.candidates(&image.parse().unwrap()).await;
        let user = |credential| match credential {
            Credential::Password { username, .. } => username,
            Credential::IdentityToken(Secret(_)) => "(token)".to_owned(),
        };
        (credentials.into_iter().map(user).collect(), failures.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn all_that_fits_is_tried_most_specific_first_and_secret_by_secret() {
        let one = r#"{"auths": {
            "*.example": {"username": "glob", "password": "p"}, "r.example": {"username": "host", "password": "p"},
            "https://r.example/v2/team": {"username": "team", "password": "p"},
            "r.example:5000": {"username": "port", "password": "p"}, "r.example/other": {"username": "other", "password": "p"}
        }}"#;
        let two = r#"{"r.example/team/app": {"auth": "Y2ZnOnA="}, "r.example": {"username": "host", "password": "p"}}"#;
        let secrets = || vec![json(one), secret(PullSecretForm::DockerCfg, two)];
        let none: Vec<String> = Vec::new();
        let expected = (["team", "host", "glob", "cfg"].map(str::to_owned).to_vec(), none.clone());
        assert_eq!(users(secrets(), "r.example/team/app:1").await, expected);
        let expected = (vec!["port".to_owned()], none.clone());
        assert_eq!(users(secrets(), "r.example:5000/team/app:1").await, expected);
        assert_eq!(users(secrets(), "elsewhere.io/team/app:1").await, (none.clone(), none));
    }

    #[tokio::test]
    async fn docker_hub_has_many_names() {
        for key in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            let config = format!(r#"{{"auths": {{"{key}": {{"username": "hub", "password": "p"}}}}}}"#);
            for image in ["redis", "org/app:1", "docker.io/library/redis:7"] {
                assert_eq!(users(vec![json(&config)], image).await.0, ["hub"], "{key} for {image}");
            }
        }
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_leaves_the_others_as_they_are() {
        let config =
            r#"{"auths": {"a.io/team": {"auth": "s3cret!"}, "a.io": {"username": "u", "password": "p"}}}"#;
        let (users, failures) = users(vec![json(config)], "a.io/team/x").await;
        let expected =
            "the \"auth\" of \"a.io/team\" in pull secret team/regcred is not base64 of USER:PASSWORD";
        assert_eq!((users, failures), (vec!["u".to_owned()], vec![expected.to_owned()]));
    }

    #[test]
    fn malformed_secrets_are_named_and_not_quoted() {
        use PullSecretForm::{DockerCfg, DockerConfigJson};
        let table = [
            (DockerConfigJson, ""),
            (DockerConfigJson, "s3cret"),
            (DockerConfigJson, "[]"),
            (DockerConfigJson, "null"),
            (DockerConfigJson, r#"{"auths": "s3cret"}"#),
            (DockerConfigJson, r#"{"auths": {"a.io": "s3cret"}}"#),
            (DockerConfigJson, r#"{"auths": {"a.io": {"auth": 5, "password": "s3cret"}}}"#),
            (DockerConfigJson, r#"{"auths": {"a.io": {"password": ["s3cret"]}}}"#),
            (DockerConfigJson, r#"{"auths": {}} s3cret"#),
            (DockerConfigJson, "{\"auths\": {\"\u{0}s3cret"),
            (DockerCfg, r#"{"auths": {"a.io": {"auth": {"s3cret": 1}}}, "b.io": "s3cret"}"#),
            (DockerCfg, r#"{"a.io": ["s3cret", {}, 3, 4, 5, 6]}"#),
        ];
        for (form, data) in table {
            let options = KeyringOptions { secrets: vec![secret(form, data)], ..KeyringOptions::default() };
            assert!(!format!("{options:?}").contains("s3cret"));
            let error = Keyring::load(&options).expect_err(data);
            let text = error.to_string();
            assert!(
                text.starts_with("pull secret team/regcred is not a Docker configuration file: "),
                "{text}"
            );
            assert!(!format!("{text} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn a_mounted_secret_is_read_by_the_names_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let load = |path: &Path| {
            Keyring::load(&KeyringOptions { files: vec![path.to_owned()], ..KeyringOptions::default() })
        };
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(".dockerconfigjson"), "{error}");
        let legacy = dir.path().join(LEGACY_KEY);
        fs::write(&legacy, r#"{"a.io": {"auth": "dTpw"}}"#).unwrap();
        assert_eq!(load(dir.path()).unwrap().configs.len(), 1);
        assert_eq!(load(&legacy).unwrap().configs.len(), 1);
        fs::write(dir.path().join(JSON_KEY), r#"{"auths": {}}"#).unwrap();
        assert_eq!(load(dir.path()).unwrap().configs.len(), 2);
        assert!(matches!(load(Path::new("/nonexistent")), Err(CredentialError::Read { .. })));
    }

    #[test]
    fn only_two_types_of_secrets_are_pull_secrets_and_each_has_a_key_of_its_own() {
        let of = |kind: &str, key: &str| {
            let data = [(key.to_owned(), b"s3cret".to_vec())].into();
            PullSecret::of_secret("team/regcred".to_owned(), kind, data).map_err(|error| error.to_string())
        };
        let [json, legacy] = ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"];
        assert_eq!(of(json, JSON_KEY).unwrap(), secret(PullSecretForm::DockerConfigJson, "s3cret"));
        assert_eq!(of(legacy, LEGACY_KEY).unwrap(), secret(PullSecretForm::DockerCfg, "s3cret"));
        assert_eq!(of(json, LEGACY_KEY).unwrap_err(), "pull secret team/regcred has no .dockerconfigjson");
        assert_eq!(of(legacy, "x").unwrap_err(), "pull secret team/regcred has no .dockercfg");
        let error = of("Opaque", JSON_KEY).unwrap_err();
        assert!(error.starts_with("secret team/regcred is of type \"Opaque\""), "{error}");
    }
}
