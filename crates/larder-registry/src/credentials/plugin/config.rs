//! The kubelet's `CredentialProviderConfig`, in YAML or JSON. Opens no file.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use larder_core::parse_go_duration;
use serde::Deserialize;

use super::PluginError;

const KIND: &str = "CredentialProviderConfig";
/// The versions of the file; all have the same fields.
const CONFIG_VERSIONS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"];
/// The versions of the protocol; all have the same messages.
const PLUGIN_VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
/// Such files have some KiB; what is a thousand times larger is another file.
const LARGEST: usize = 1 << 20;

/// One plugin, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) match_images: Vec<String>,
    pub(super) default_cache_duration: Duration,
    pub(super) api_version: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) needs_service_account: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    providers: Vec<Fields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    #[serde(default)]
    api_version: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    token_attributes: Option<TokenAttributes>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenAttributes {
    #[serde(default)]
    require_service_account: bool,
}

/// The plugins that `bytes`, the content of `path`, configures.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Provider>, PluginError> {
    read(bytes).map_err(|reason| PluginError::Config { path: path.to_owned(), reason })
}

fn read(bytes: &[u8]) -> Result<Vec<Provider>, String> {
    if bytes.len() > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    // The parser quotes the file, whose environment variables may be secret: only the place is told.
    let file: ConfigFile = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().map(|at| format!(" in line {}, column {}", at.line(), at.column()));
        format!("bad YAML or a wrong type{}", at.unwrap_or_default())
    })?;
    let ConfigFile { api_version, kind, providers } = file;
    if kind != KIND {
        return Err(format!("its kind is {kind:?}"));
    }
    if !CONFIG_VERSIONS.contains(&api_version.as_str()) {
        return Err(format!("its apiVersion is {api_version:?}, not {:?}", CONFIG_VERSIONS[0]));
    }
    if providers.is_empty() {
        return Err("it has no providers".to_owned());
    }
    let mut names = BTreeSet::new();
    providers
        .into_iter()
        .map(|fields| {
            let provider = fields.check()?;
            if !names.insert(provider.name.clone()) {
                return Err(format!("provider {} is there twice", provider.name));
            }
            Ok(provider)
        })
        .collect()
}

impl Fields {
    fn check(self) -> Result<Provider, String> {
        let Self { name, match_images, default_cache_duration, api_version, args, env, token_attributes } =
            self;
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', ' ', '\0']) {
            return Err(format!("{name:?} is not the name of a provider"));
        }
        if match_images.is_empty() {
            return Err(format!("provider {name} has no matchImages"));
        }
        if !PLUGIN_VERSIONS.contains(&api_version.as_str()) {
            return Err(format!(
                "provider {name} has apiVersion {api_version:?}, not {:?}",
                PLUGIN_VERSIONS[0]
            ));
        }
        let default_cache_duration =
            default_cache_duration.ok_or_else(|| format!("provider {name} has no defaultCacheDuration"))?;
        let default_cache_duration = parse_go_duration(&default_cache_duration)
            .map_err(|error| format!("the defaultCacheDuration of provider {name} is none: {error}"))?;
        let env: Vec<(String, String)> =
            env.unwrap_or_default().into_iter().map(|variable| (variable.name, variable.value)).collect();
        if env
            .iter()
            .any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
        {
            return Err(format!("provider {name} has an env that is none"));
        }
        let args = args.unwrap_or_default();
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(format!("provider {name} has args that are none"));
        }
        let needs_service_account = token_attributes.is_some_and(|token| token.require_service_account);
        Ok(Provider {
            name,
            match_images,
            default_cache_duration,
            api_version,
            args,
            env,
            needs_service_account,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n";

    fn provider(more: &str) -> String {
        format!(
            "{HEAD}providers:\n- {{name: p, matchImages: ['*.a.io'], defaultCacheDuration: 10m, apiVersion: credentialprovider.kubelet.k8s.io/v1{more}}}\n"
        )
    }

    #[test]
    fn a_configuration_is_read_in_yaml_and_json() {
        let yaml = provider(", args: [get, -v], env: [{name: A, value: b}], unknown: 1");
        let expected = Provider {
            name: "p".to_owned(),
            match_images: vec!["*.a.io".to_owned()],
            default_cache_duration: Duration::from_mins(10),
            api_version: PLUGIN_VERSIONS[0].to_owned(),
            args: vec!["get".to_owned(), "-v".to_owned()],
            env: vec![("A".to_owned(), "b".to_owned())],
            needs_service_account: false,
        };
        assert_eq!(read(yaml.as_bytes()).unwrap(), std::slice::from_ref(&expected));
        let json = r#"{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "CredentialProviderConfig", "providers": [{"name": "p",
            "matchImages": ["*.a.io"], "defaultCacheDuration": "0h10m0s", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "args": ["get", "-v"], "env": [{"name": "A", "value": "b"}], "tokenAttributes": {"requireServiceAccount": true}}]}"#;
        let expected = Provider { needs_service_account: true, ..expected };
        assert_eq!(read(json.as_bytes()).unwrap(), [expected]);
    }

    #[test]
    fn what_is_wrong_is_said_without_a_word_of_a_value() {
        let twice = format!("{}{}", provider(""), provider("").split_once("providers:\n").unwrap().1);
        let table = [
            (String::new(), "kind"),
            ("{".to_owned(), "YAML"),
            ("[1, 2]".to_owned(), "YAML"),
            (HEAD.to_owned(), "no providers"),
            (HEAD.replace("Config\n", "x\n"), "kind"),
            (HEAD.replace("/v1", "/v2"), "apiVersion"),
            (twice, "provider p is there twice"),
            (provider(", args: s3cret"), "YAML"),
            (provider(", env: [{name: A=, value: s3cret}]"), "env"),
            (provider("").replace("name: p", "name: ../p"), "\"../p\""),
            (provider("").replace("name: p", "name: ''"), "not the name"),
            (provider("").replace("['*.a.io']", "[]"), "no matchImages"),
            (provider("").replace("10m", "-1s"), "defaultCacheDuration"),
            (provider("").replace("kubelet.k8s.io/v1", "kubelet.k8s.io/v9"), "apiVersion"),
            ("x".repeat(LARGEST + 1), "larger"),
        ];
        for (text, part) in table {
            let reason = read(text.as_bytes()).expect_err(&text);
            assert!(reason.contains(part) && !reason.contains("s3cret"), "{text}: {reason}");
        }
        assert!(read(b"\xff").unwrap_err().contains("UTF-8"));
    }
}
