//! The access log: Apache's combined format, among lines of the registry's own.

use larder_core::Digest;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The status code of the answer.
    pub status: u16,
    /// Bytes in the answer's body.
    pub bytes: u64,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Request {
    /// The blob that was sent, if this was a successful GET of one.
    pub fn blob_sent(&self) -> Option<Digest> {
        let (_, digest) = self.path.split_once("/blobs/")?;
        (self.method == "GET" && matches!(self.status, 200 | 206)).then(|| digest.parse().ok())?
    }
}

pub(super) fn parse(log: &str) -> Vec<Request> {
    log.lines().filter_map(line).collect()
}

/// `HOST - USER [TIME] "METHOD PATH PROTOCOL" STATUS BYTES "REFERER" "USER AGENT"`
fn line(line: &str) -> Option<Request> {
    let (_, rest) = line.split_once("] \"")?;
    let mut quoted = rest.split('"');
    let mut request = quoted.next()?.split(' ');
    let mut answer = quoted.next()?.split_whitespace();
    Some(Request {
        method: request.next()?.to_owned(),
        path: request.next()?.to_owned(),
        status: answer.next()?.parse().ok()?,
        bytes: answer.next()?.parse().ok()?,
        user_agent: quoted.nth(2)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_among_other_lines() {
        let digest = Digest::of(b"x");
        let log = format!(
            "time=\"2020-01-01T00:00:00Z\" level=info msg=\"listening on 127.0.0.1:1\" go.version=go1\n\
            127.0.0.1 - - [21/Nov/2026:01:00:00 +0000] \"GET /v2/a/blobs/{digest} HTTP/1.1\" 200 12 \"\" \"containerd/1.6\"\n\
            127.0.0.1 - lab [21/Nov/2026:01:00:00 +0000] \"HEAD /v2/a/blobs/{digest} HTTP/1.1\" 404 0 \"\" \"x\"\n"
        );
        let requests = parse(&log);
        let expected = Request {
            method: "GET".to_owned(),
            path: format!("/v2/a/blobs/{digest}"),
            status: 200,
            bytes: 12,
            user_agent: "containerd/1.6".to_owned(),
        };
        assert_eq!(requests[0], expected);
        assert_eq!(requests.len(), 2);
        assert_eq!((requests[0].blob_sent(), requests[1].blob_sent()), (Some(digest), None));
    }
}
