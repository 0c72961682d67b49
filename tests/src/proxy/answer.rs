//! What is answered, and each way in which an answer can go wrong.

/// An address where nobody listens.
pub(super) const NOBODY: &str = "127.0.0.1:1";

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The way leads to a port where nobody listens.
    Refused,
    /// The connection is reset in the middle of the body.
    Reset,
    /// The connection is closed in the middle of the body.
    Cut,
    /// Nothing more comes after the middle of the body.
    Stalled,
    /// Another status, with an error as registries write it.
    Status(u16),
    /// 429, and the wish to be asked again after this many seconds.
    Busy(u64),
    /// A page for people, as a success.
    Html,
    /// As many bytes, but not the same.
    WrongBytes,
    /// As many bytes, of which the last is another.
    WrongEnd,
    /// Half of the bytes, as if they were all.
    Short,
    /// More bytes than there are.
    Long,
    /// A redirect to another host, which has what is wanted.
    Redirected,
    /// This content of this media type instead.
    Instead(&'static str, Vec<u8>),
}

/// An answer on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) end: End,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It goes on.
    Open,
    /// It is reset after the middle of the body.
    Reset,
    /// It is closed after the middle of the body.
    Cut,
    /// It stays open after the middle of the body, and nothing comes.
    Stall,
}

impl Answer {
    pub(super) fn new(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, body, end: End::Open }
    }

    pub(super) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, Vec::new(), body.into()).header("content-type", "application/json")
    }

    pub(super) fn redirect(host: &str, path: &str) -> Self {
        Self::new(307, Vec::new(), Vec::new()).header("location", &format!("http://{host}{path}"))
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same answer gone wrong.
    pub(super) fn with(self, fault: Fault) -> Self {
        let error = |status| Self::new(status, Vec::new(), br#"{"errors":[{"code":"LAB"}]}"#.to_vec());
        match fault {
            Fault::Refused | Fault::Redirected => Self::redirect(NOBODY, "/"),
            Fault::Reset => Self { end: End::Reset, ..self },
            Fault::Cut => Self { end: End::Cut, ..self },
            Fault::Stalled => Self { end: End::Stall, ..self },
            Fault::Status(status) => error(status),
            Fault::Busy(seconds) => error(429).header("retry-after", &seconds.to_string()),
            Fault::Html => Self::instead("text/html", b"<html>Down for maintenance</html>".to_vec()),
            Fault::WrongBytes => self.edit(|body| body.reverse()),
            Fault::WrongEnd => self.edit(|body| body.last_mut().into_iter().for_each(|last| *last ^= 1)),
            Fault::Short => self.edit(|body| body.truncate(body.len() / 2)),
            Fault::Long => self.edit(|body| body.extend_from_slice(b"and more")),
            Fault::Instead(media_type, body) => Self::instead(media_type, body),
        }
    }

    fn instead(media_type: &str, body: Vec<u8>) -> Self {
        Self::new(200, Vec::new(), body).header("content-type", media_type)
    }

    fn edit(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.body);
        self
    }
}

/// Google's token.
pub(super) fn metadata() -> Answer {
    let body = r#"{"access_token":"ya29.lab","expires_in":3600,"token_type":"Bearer"}"#;
    Answer::json(body).header("metadata-flavor", "Google")
}
