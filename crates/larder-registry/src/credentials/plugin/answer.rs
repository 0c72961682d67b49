//! What a plugin is asked, and what it answers. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use larder_core::{ImageRef, parse_go_duration};
use serde::Deserialize;

use super::super::{Credential, Secret, matching};
use super::PluginError;

const KIND: &str = "CredentialProviderResponse";

/// For which images an answer may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyType {
    Image,
    Registry,
    Global,
}

/// Credentials for images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) key_type: KeyType,
    /// None where the configuration has the say.
    pub(super) keep: Option<Duration>,
    auth: BTreeMap<String, Login>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Login {
    #[serde(default)]
    username: String,
    #[serde(default = "no_password")]
    password: Secret,
}

fn no_password() -> Secret {
    Secret(String::new())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    cache_key_type: String,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Login>>,
}

/// What the plugin reads on its standard input.
pub(super) fn request(api_version: &str, image: &ImageRef) -> Vec<u8> {
    let kind = "CredentialProviderRequest";
    serde_json::json!({ "kind": kind, "apiVersion": api_version, "image": image.name() })
        .to_string()
        .into_bytes()
}

/// The answer in `output` of `plugin`, which speaks `api_version`.
pub(super) fn parse(plugin: &str, api_version: &str, output: &[u8]) -> Result<Answer, PluginError> {
    read(api_version, output).map_err(|reason| PluginError::Answer { plugin: plugin.to_owned(), reason })
}

fn read(wanted_version: &str, output: &[u8]) -> Result<Answer, String> {
    // The parser's own words may quote secrets, so only the place is kept.
    let fields: Fields = serde_json::from_slice(output)
        .map_err(|error| format!("bad JSON in line {}, column {}", error.line(), error.column()))?;
    let Fields { kind, api_version, cache_key_type, cache_duration, auth } = fields;
    if kind != KIND {
        return Err(format!("its kind is not {KIND}"));
    }
    if api_version != wanted_version {
        return Err(format!("its apiVersion is not {wanted_version}"));
    }
    let key_type = match cache_key_type.as_str() {
        "Image" => KeyType::Image,
        "Registry" => KeyType::Registry,
        "Global" => KeyType::Global,
        _ => return Err("its cacheKeyType is none of Image, Registry and Global".to_owned()),
    };
    let keep = match cache_duration {
        None => None,
        Some(text) => {
            Some(parse_go_duration(&text).map_err(|error| format!("its cacheDuration is none: {error}"))?)
        }
    };
    Ok(Answer { key_type, keep, auth: auth.unwrap_or_default() })
}

impl Answer {
    /// What of the answer is for `image`, the most specific first.
    pub(super) fn credentials(&self, image: &ImageRef) -> Vec<Credential> {
        let keys = self.auth.keys().map(String::as_str);
        let keys = matching::all(keys, image.registry(), image.repository());
        keys.into_iter()
            .map(|key| {
                let Login { username, password } = self.auth[key].clone();
                Credential::Password { username, password }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "credentialprovider.kubelet.k8s.io/v1";

    fn answer(more: &str) -> String {
        format!(r#"{{"kind": "{KIND}", "apiVersion": "{V1}", "cacheKeyType": "Image"{more}}}"#)
    }

    #[test]
    fn an_answer_holds_credentials_by_the_images_that_they_are_for() {
        let text = answer(
            r#", "cacheDuration": "1h0m0s", "auth": {"a.io": {"username": "u", "password": "p"},
            "a.io/team": {"username": "t", "password": "q"}, "b.io": {"username": "x", "password": "y"}}"#,
        );
        let answer = read(V1, text.as_bytes()).unwrap();
        assert_eq!((answer.key_type, answer.keep), (KeyType::Image, Some(Duration::from_hours(1))));
        let password = |username: &str, password: &str| Credential::Password {
            username: username.to_owned(),
            password: Secret(password.to_owned()),
        };
        let credentials = |image: &str| answer.credentials(&image.parse().unwrap());
        assert_eq!(credentials("a.io/team/x:1"), [password("t", "q"), password("u", "p")]);
        assert_eq!(credentials("a.io/x"), [password("u", "p")]);
        assert_eq!(credentials("c.io/x"), []);
    }

    #[test]
    fn no_credentials_are_an_answer_too() {
        for more in ["", r#", "auth": null"#, r#", "auth": {}"#, r#", "auth": {"a.io": {}}, "unknown": [1]"#]
        {
            assert!(read(V1, answer(more).as_bytes()).is_ok(), "{more}");
        }
    }

    #[test]
    fn garbage_is_told_without_a_word_of_it() {
        let good = answer("");
        let table = [
            (String::new(), "bad JSON in line 1"),
            ("s3cret".to_owned(), "bad JSON"),
            ("[]".to_owned(), "bad JSON"),
            (r#""s3cret""#.to_owned(), "bad JSON"),
            ("null".to_owned(), "bad JSON"),
            (format!("{good} s3cret"), "bad JSON"),
            (good[..good.len() - 1].to_owned(), "bad JSON"),
            (answer(r#", "auth": "s3cret""#), "bad JSON"),
            (answer(r#", "auth": {"a.io": "s3cret"}"#), "bad JSON"),
            (answer(r#", "auth": {"a.io": {"username": 1, "password": "s3cret"}}"#), "bad JSON"),
            (answer(r#", "cacheDuration": 5"#), "bad JSON"),
            (answer(r#", "cacheDuration": "s3cret""#), "cacheDuration"),
            (answer(r#", "cacheDuration": "-1s""#), "cacheDuration"),
            (good.replace("\"Image\"", "\"s3cret\""), "cacheKeyType"),
            (good.replace(KIND, "s3cret"), "kind"),
            (good.replace("/v1", "/v2"), "apiVersion"),
            ("{}".to_owned(), "kind"),
            ("[".repeat(100_000), "bad JSON"),
        ];
        for (text, part) in table {
            let error = parse("p", V1, text.as_bytes()).unwrap_err();
            let (shown, debug) = (error.to_string(), format!("{error:?}"));
            assert!(shown.starts_with("credential provider p ") && shown.contains(part), "{shown}");
            assert!(!shown.contains("s3cret") && !debug.contains("s3cret"), "{debug}");
        }
    }
}
