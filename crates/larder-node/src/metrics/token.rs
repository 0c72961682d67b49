//! The bearer token that opens an aggregator: read from a file, sent in a header, compared without telling how much of it was right.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// In bytes; the tokens of service accounts have about 1 KiB.
const LONGEST: usize = 8 << 10;
const SCHEME: &str = "Bearer ";

/// A token that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token in {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What it holds cannot be sent as a token.
    #[error("{path} holds no token: expected one word of up to {LONGEST} visible ASCII characters", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl BearerToken {
    /// The token in `path`, without the white space around it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let bytes =
            std::fs::read(path).map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
        Self::parse(&bytes).ok_or_else(|| TokenError::Content { path: path.to_owned() })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let word = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic());
        word.then(|| Self(text.to_owned()))
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// Whether `header`, the value of `Authorization`, has this token.
    pub(super) fn opens(&self, header: Option<&[u8]>) -> bool {
        let digest = |token: &[u8]| Sha256::digest(token);
        let scheme = |value: &[u8]| value.eq_ignore_ascii_case(SCHEME.as_bytes());
        header.is_some_and(|header| match header.split_at_checked(SCHEME.len()) {
            // The time that digests take to compare says nothing about what was hashed.
            Some((start, token)) => scheme(start) && digest(token) == digest(self.0.as_bytes()),
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_visible_word() {
        assert_eq!(BearerToken::parse(b" s3cret\n"), Some(BearerToken("s3cret".to_owned())));
        for bytes in [&b""[..], b" \n", b"two words", b"a\nb", b"\xff", "ä".as_bytes(), &[b'x'; LONGEST + 1]]
        {
            assert_eq!(BearerToken::parse(bytes), None, "{bytes:?}");
        }
        let error = BearerToken::read(Path::new("/nonexistent/token")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the token in /nonexistent/token");
    }

    #[test]
    fn only_the_token_itself_opens() {
        let token = BearerToken("s3cret".to_owned());
        assert!(token.opens(Some(token.header().as_bytes())));
        assert!(token.opens(Some(b"bearer s3cret")));
        for header in [&b"Bearer s3cre"[..], b"Bearer s3cret ", b"s3cret", b"Basic s3cret", b"Bearer ", b""] {
            assert!(!token.opens(Some(header)), "{}", String::from_utf8_lossy(header));
        }
        assert!(!token.opens(None));
        assert_eq!(format!("{token:?}"), "(secret)");
    }
}
