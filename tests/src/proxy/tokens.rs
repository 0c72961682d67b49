//! The token server: one token at a time, good for so many requests.

use super::answer::Answer;
use super::http::Request;

/// The tokens so far.
#[derive(Debug)]
pub(super) struct Tokens {
    uses: usize,
    issued: usize,
    left: usize,
}

impl Tokens {
    /// None yet; each will be good for `uses` requests.
    pub(super) fn new(uses: usize) -> Self {
        Self { uses, issued: 0, left: 0 }
    }

    /// The next token; the ones before it are good no more.
    pub(super) fn issue(&mut self) -> String {
        self.issued += 1;
        self.left = self.uses;
        format!("t{}", self.issued)
    }

    /// Whether a request with this `Authorization` is let in.
    pub(super) fn admit(&mut self, authorization: Option<&str>) -> bool {
        let good = authorization == Some(&format!("Bearer t{}", self.issued)) && self.left > 0;
        self.left -= usize::from(good);
        good
    }
}

/// Asks for a token of the proxy itself.
pub(super) fn challenge(request: &Request) -> Answer {
    challenge_of(request.header("host").unwrap_or_default())
}

/// Asks for a token of the server at `host`.
pub(super) fn challenge_of(host: &str) -> Answer {
    let challenge = format!(r#"Bearer realm="http://{host}/token",service="lab""#);
    Answer::new(401, Vec::new(), Vec::new()).header("www-authenticate", &challenge)
}
