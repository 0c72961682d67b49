//! Asks a token server for a token (the distribution spec's token authentication, and its `OAuth2` form).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::time::timeout;

use super::auth::Grant;
use super::failure::{self, Access};
use super::http::Http;
use super::{RegistryError, Scope};
use crate::credentials::{Credential, Secret};
use crate::endpoint;

/// The largest answer that is read, in bytes; tokens with long lists of rights are some 10 KiB.
const MAX_TOKEN: u64 = 1 << 20;
/// The life of a token whose server does not say (distribution spec).
const DEFAULT_LIFE: Duration = Duration::from_mins(1);
/// Tokens are renewed after this part of their life, so that none expires on its way.
const USABLE_LIFE: f64 = 0.9;
const CLIENT_ID: &str = "larder";
const FORM: &str = "application/x-www-form-urlencoded";

/// What a token is asked for.
pub(super) struct TokenRequest<'a> {
    /// The token server.
    pub(super) realm: Url,
    /// As the challenge names the registry.
    pub(super) service: Option<&'a str>,
    /// As the challenge says; without it, to pull from the repository.
    pub(super) scope: Option<&'a str>,
    /// The repository.
    pub(super) target: &'a Scope,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    /// In seconds.
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    /// Asks, with the credential if there is one.
    pub(super) async fn send(
        &self,
        http: &Http,
        credential: Option<&Credential>,
    ) -> Result<Grant, RegistryError> {
        let limit = http.timeouts.document;
        let outcome = timeout(limit, self.send_unhurried(http, credential)).await;
        outcome.unwrap_or_else(|_| Err(RegistryError::slow(&self.realm, limit)))
    }

    async fn send_unhurried(
        &self,
        http: &Http,
        credential: Option<&Credential>,
    ) -> Result<Grant, RegistryError> {
        let asked = Instant::now();
        let response = match credential {
            None => http.get_token(&self.query(), HeaderMap::new()).await,
            Some(Credential::Password { username, password }) => {
                let headers = HeaderMap::from_iter([(AUTHORIZATION, basic(username, password))]);
                http.get_token(&self.query(), headers).await
            }
            Some(Credential::IdentityToken(token)) => {
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(FORM))]);
                http.post_token(&self.realm, headers, self.form(token)).await
            }
        }?;
        let access = if credential.is_some() { Access::Credential } else { Access::Anonymous };
        let response = failure::accept(response, access, http).await?;
        let body = http.collect(response, "token", MAX_TOKEN).await?;
        grant(&body, asked, access)
            .ok_or_else(|| RegistryError::Token { url: endpoint::display(&self.realm) })
    }

    fn query(&self) -> Url {
        let mut url = self.realm.clone();
        url.query_pairs_mut().extend_pairs(self.parameters());
        url
    }

    /// An `OAuth2` refresh (distribution's `spec/auth/oauth.md`).
    fn form(&self, token: &Secret) -> String {
        let mut form = self.realm.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("refresh_token", &token.0)
            .extend_pairs(self.parameters());
        form.query().unwrap_or_default().to_owned()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let scope =
            self.scope.map_or_else(|| format!("repository:{}:pull", self.target.repository), str::to_owned);
        let scopes = scope.split_whitespace().map(|scope| ("scope", scope.to_owned()));
        self.service.map(|service| ("service", service.to_owned())).into_iter().chain(scopes).collect()
    }
}

/// The header of HTTP basic authentication.
pub(super) fn basic(username: &str, password: &Secret) -> HeaderValue {
    let encoded = BASE64_STANDARD.encode(format!("{username}:{}", password.0));
    // Base64 is always fit for a header.
    let mut value =
        HeaderValue::try_from(format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// The token in an answer; none where there is no usable one.
fn grant(body: &[u8], asked: Instant, access: Access) -> Option<Grant> {
    let Answer { token, access_token, expires_in } = serde_json::from_slice(body).ok()?;
    let token = [token, access_token].into_iter().flatten().find(|token| !token.0.is_empty())?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.0)).ok()?;
    header.set_sensitive(true);
    let life = expires_in.filter(|seconds| *seconds > 0).map_or(DEFAULT_LIFE, Duration::from_secs);
    Some(Grant { header, expires: asked.checked_add(life.mul_f64(USABLE_LIFE)), access })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_under_either_name_and_renewed_before_it_expires() {
        let asked = Instant::now();
        let read = |json: &str| grant(json.as_bytes(), asked, Access::Anonymous);
        let first = read(r#"{"token":"a","access_token":"b","expires_in":100}"#).unwrap();
        assert_eq!(first.header.to_str().unwrap(), "Bearer a");
        assert_eq!(first.expires, Some(asked + Duration::from_secs(90)));
        let second = read(r#"{"access_token":"b"}"#).unwrap();
        assert_eq!(second.header.to_str().unwrap(), "Bearer b");
        assert_eq!(second.expires, Some(asked + Duration::from_secs(54)));
        for json in ["{}", "<html>", r#"{"token":""}"#, r#"{"token":"a\nb"}"#] {
            assert!(read(json).is_none(), "{json}");
        }
    }

    #[test]
    fn a_request_names_the_service_and_each_scope() {
        let target = Scope { registry: "a.io".to_owned(), repository: "team/x".to_owned() };
        let realm = Url::parse("https://auth.a.io/token?account=1").unwrap();
        let mut request = TokenRequest { realm, service: Some("a.io"), scope: None, target: &target };
        let query = request.query();
        assert_eq!(query.query(), Some("account=1&service=a.io&scope=repository%3Ateam%2Fx%3Apull"));
        request.scope = Some("one two");
        assert_eq!(
            request.form(&Secret("s&t".to_owned())),
            "grant_type=refresh_token&client_id=larder&refresh_token=s%26t&service=a.io&scope=one&scope=two"
        );
    }
}
