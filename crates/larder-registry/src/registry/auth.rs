//! Who we are to each repository: challenges that were met, and the tokens or passwords that answer them.
//! Many fetches share one token; while it is being fetched, the others wait for it instead of asking too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::sync::OnceCell;

use super::challenge::Challenge;
use super::failure::Access;
use super::http::Http;
use super::token::{self, TokenRequest};
use super::{RegistryError, Scope};
use crate::credentials::{Credential, Credentials};
use crate::options::PlainHttp;

/// What opens a repository.
pub(super) struct Grant {
    /// The value of `Authorization`.
    pub(super) header: HeaderValue,
    /// When to renew it; never for a lasting password.
    pub(super) expires: Option<Instant>,
    /// As whom.
    pub(super) access: Access,
}

/// A grant as one request used it: the cell tells it from the one that replaces it.
pub(super) struct Pass {
    cell: Arc<OnceCell<Grant>>,
    header: HeaderValue,
    access: Access,
}

/// The last challenge of a repository, and the one answer to it, being fetched or there.
#[derive(Clone)]
struct Session {
    challenge: Challenge,
    cell: Arc<OnceCell<Grant>>,
}

/// The sessions with all repositories of a client.
pub(super) struct Authority {
    http: Http,
    credentials: Credentials,
    plain_http: PlainHttp,
    sessions: Mutex<HashMap<Scope, Session>>,
}

impl Pass {
    /// Signs a request.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.header.clone());
    }

    /// As whom the request is made.
    pub(super) fn access(&self) -> Access {
        self.access
    }
}

impl Session {
    fn new(challenge: Challenge) -> Self {
        Self { challenge, cell: Arc::default() }
    }

    fn renew_if_expired(&mut self, now: Instant) {
        let expired = |grant: &Grant| grant.expires.is_some_and(|expires| expires <= now);
        if self.cell.get().is_some_and(expired) {
            self.cell = Arc::default();
        }
    }
}

impl Authority {
    /// No session yet.
    pub(super) fn new(http: Http, credentials: Credentials, plain_http: PlainHttp) -> Self {
        Self { http, credentials, plain_http, sessions: Mutex::default() }
    }

    /// The pass for `scope`, renewed if it must be; none before its first challenge.
    pub(super) async fn known(&self, scope: &Scope, base: &Url) -> Result<Option<Pass>, RegistryError> {
        let session = self.sessions().get_mut(scope).map(|session| {
            session.renew_if_expired(Instant::now());
            session.clone()
        });
        match session {
            Some(session) => self.pass(scope, base, session).await.map(Some),
            None => Ok(None),
        }
    }

    /// A pass that answers `challenge`, other than the one that was `rejected`.
    pub(super) async fn answer(
        &self,
        scope: &Scope,
        base: &Url,
        challenge: Challenge,
        rejected: Option<&Pass>,
    ) -> Result<Pass, RegistryError> {
        let session = {
            let mut sessions = self.sessions();
            let session = sessions.entry(scope.clone()).or_insert_with(|| Session::new(challenge.clone()));
            // Another fetch may have renewed it meanwhile.
            if rejected.is_some_and(|pass| Arc::ptr_eq(&pass.cell, &session.cell)) {
                *session = Session::new(challenge);
            }
            session.clone()
        };
        self.pass(scope, base, session).await
    }

    async fn pass(&self, scope: &Scope, base: &Url, session: Session) -> Result<Pass, RegistryError> {
        let Session { challenge, cell } = session;
        let grant = cell.get_or_try_init(|| self.fetch(scope, base, &challenge)).await?;
        let (header, access) = (grant.header.clone(), grant.access);
        Ok(Pass { cell, header, access })
    }

    async fn fetch(&self, scope: &Scope, base: &Url, challenge: &Challenge) -> Result<Grant, RegistryError> {
        let found = self.credentials.find(&scope.registry, &scope.repository).await?;
        let (credential, expires) =
            found.map_or((None, None), |found| (Some(found.credential), found.renew_at));
        match challenge {
            Challenge::Basic => match credential {
                Some(Credential::Password { username, password }) => {
                    let header = token::basic(&username, &password);
                    Ok(Grant { header, expires, access: Access::Credential })
                }
                _ => Err(RegistryError::NoPassword(scope.registry.clone())),
            },
            Challenge::Bearer { realm, service, scope: asked } => {
                let realm = self.realm(scope, base, realm)?;
                let (service, asked) = (service.as_deref(), asked.as_deref());
                let request = TokenRequest { realm, service, scope: asked, target: scope };
                request.send(&self.http, credential.as_ref()).await
            }
        }
    }

    /// The token server's URL. It is sent the credential, so plain HTTP will do only where it was asked for.
    fn realm(&self, scope: &Scope, base: &Url, realm: &str) -> Result<Url, RegistryError> {
        let url = Url::parse(realm).ok().filter(|url| match url.scheme() {
            "https" => true,
            "http" => base.scheme() == "http" || self.plain_http.covers(url.authority()),
            _ => false,
        });
        url.ok_or_else(|| RegistryError::Realm { registry: scope.registry.clone(), realm: realm.to_owned() })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Scope, Session>> {
        // Nothing panics while it is held; a poisoned map would still be whole.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
