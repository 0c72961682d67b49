//! Where short-lived credentials come from: clouds, programs. A source decides which registries are its own.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use super::{Credential, Secret};

/// A credential that is good for a while.
#[derive(Clone, Debug)]
pub struct Token {
    /// As HTTP basic authentication has it.
    pub(crate) credential: Credential,
    /// When to ask for another one; none where it lasts.
    pub(crate) renew_at: Option<Instant>,
}

/// Why a source has no token for a registry of its own.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The same question may be answered later.
    #[error(transparent)]
    Passing(Box<dyn Error + Send + Sync>),
    /// It will not.
    #[error(transparent)]
    Lasting(Box<dyn Error + Send + Sync>),
}

/// What a source answers with.
pub type TokenAnswer<'a> = Pin<Box<dyn Future<Output = Result<Option<Token>, TokenError>> + Send + 'a>>;

/// Gives credentials that expire. It is asked for each new session with a repository, and again when the token is to be
/// renewed or was refused, so it keeps what is still good; of questions at the same time only one should go out.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// The token for `repository` of `registry` (`HOST[:PORT]`, as in references); none where that registry is not the
    /// source's business: then nothing of it is sent there.
    fn token<'a>(&'a self, registry: &'a str, repository: &'a str) -> TokenAnswer<'a>;
}

impl Token {
    /// A user name with a password that stands for it until shortly after `renew_at`.
    pub fn new(username: &str, password: String, renew_at: Option<Instant>) -> Self {
        let credential = Credential::Password { username: username.to_owned(), password: Secret(password) };
        Self { credential, renew_at }
    }
}
