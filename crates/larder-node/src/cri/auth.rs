//! A registry's credential in the form that CRI takes.

use std::fmt;

use larder_proto::cri::AuthConfig;

/// A credential for one image; what it holds never shows in logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// The user, with `password`.
    pub username: String,
    /// Their password.
    pub password: String,
    /// The registry that it is for; empty leaves that to the image's name.
    pub server_address: String,
    /// An `OAuth2` refresh token instead of user and password.
    pub identity_token: String,
    /// A bearer token instead of user and password.
    pub registry_token: String,
}

impl Auth {
    pub(super) fn message(&self) -> AuthConfig {
        let Self { username, password, server_address, identity_token, registry_token } = self.clone();
        AuthConfig { username, password, auth: String::new(), server_address, identity_token, registry_token }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let secret = || "hunter2".to_owned();
        let auth = Auth {
            username: secret(),
            password: secret(),
            identity_token: secret(),
            registry_token: secret(),
            ..Auth::default()
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
