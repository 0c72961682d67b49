//! Some bytes of one blob, from the first to the last of them: a stream that breaks is resumed where it broke, and a mirror
//! that fails is left for the next host.

use bytes::{Buf, Bytes};
use larder_core::Digest;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};

use super::retry::Backoff;
use super::senders::Senders;
use super::{Host, RegistryError, Repository};
use crate::endpoint;

/// Bytes after which failures before them no longer count: attempts are bounded by the blob's size, not by its time.
const PROGRESS: u64 = 1 << 20;

/// A part of a blob, or all of it, on its way.
pub(super) struct Span {
    repository: Repository,
    /// Which of the repository's hosts is asked.
    host: usize,
    digest: Digest,
    size: u64,
    position: u64,
    end: u64,
    body: Option<Body>,
    backoff: Backoff,
    senders: Senders,
    /// Where a failure was last forgotten.
    mark: u64,
}

/// An answer, and how much of its front is known already.
struct Body {
    response: Response,
    skip: u64,
}

impl Span {
    /// The bytes from `start` up to `end` of a blob of `size` bytes; nothing is asked for before the first `next`. Who sends
    /// them is noted in `senders`.
    pub(super) fn new(
        repository: &Repository,
        digest: Digest,
        size: u64,
        start: u64,
        end: u64,
        senders: Senders,
    ) -> Self {
        let (repository, host) = (repository.clone(), senders.first());
        let backoff = Backoff::new(repository.host(host).retry());
        Self {
            repository,
            host,
            digest,
            size,
            position: start,
            end,
            body: None,
            backoff,
            senders,
            mark: start,
        }
    }

    /// Where it ends, in bytes from the blob's first one: at the blob's end, once a server sends all of it.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The next bytes; none at the end. An error is final.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            match self.step().await {
                Ok(Some(chunk)) => {
                    self.senders.add(self.host);
                    self.advance(chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    fn host(&self) -> &Host {
        self.repository.host(self.host)
    }

    /// Goes on to the next host, or waits for the last one.
    async fn recover(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.body = None;
        self.host().note(&error);
        if !self.host().is_mirror() {
            return self.backoff.wait(error).await;
        }
        self.host().pass_over(&error);
        self.leave_host();
        Ok(())
    }

    /// The last host is no mirror, so there is one more.
    fn leave_host(&mut self) {
        self.host += 1;
        self.backoff = Backoff::new(self.host().retry());
    }

    fn advance(&mut self, length: u64) {
        self.position += length;
        if self.position - self.mark >= PROGRESS {
            self.mark = self.position;
            self.backoff.reset();
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, RegistryError> {
        if self.position >= self.end {
            return Ok(None);
        }
        if self.body.is_none() {
            self.body = Some(self.connect().await?);
        }
        let host = self.repository.host(self.host);
        let Some(body) = &mut self.body else { return Ok(None) };
        let Some(mut chunk) = body.next(host).await? else {
            let url = endpoint::display(body.response.url());
            return Err(RegistryError::Short { url, received: self.position, expected: self.end });
        };
        // What goes on past the blob is the proof's to judge; past a part, it is the next part's.
        if self.end < self.size {
            chunk.truncate(usize::try_from(self.end - self.position).unwrap_or(usize::MAX));
        }
        Ok(Some(chunk))
    }

    async fn connect(&mut self) -> Result<Body, RegistryError> {
        while self.host().is_resting() {
            self.leave_host();
        }
        let url = self.host().url("blobs", &self.digest.to_string())?;
        let mut headers = HeaderMap::new();
        let range = range(self.position, self.end, self.size);
        headers
            .extend(range.and_then(|range| HeaderValue::from_str(&range).ok()).map(|value| (RANGE, value)));
        let response = self.host().get(&url, headers).await?;
        let skip = self.check(&response)?;
        Ok(Body { response, skip })
    }

    /// How many bytes of `response` came before: all of them where the server knows no ranges.
    fn check(&mut self, response: &Response) -> Result<u64, RegistryError> {
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let url = || endpoint::display(response.url());
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let range = header(CONTENT_RANGE).unwrap_or_default();
        // All of a blob again for each of its parts would be a waste; for the rest of it, there is no other way.
        let wasteful = !partial && self.position > 0 && self.end < self.size;
        if wasteful || partial && first_byte(range) != Some(self.position) {
            return Err(RegistryError::Range { url: url(), offset: self.position, range: range.to_owned() });
        }
        let (offset, end) = if partial { (self.position, self.end) } else { (0, self.size) };
        match response.content_length() {
            Some(found) if found != end - offset => {
                let media_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
                Err(RegistryError::Length { url: url(), found, expected: end - offset, media_type })
            }
            _ => {
                self.end = end;
                Ok(self.position - offset)
            }
        }
    }
}

impl Body {
    async fn next(&mut self, host: &Host) -> Result<Option<Bytes>, RegistryError> {
        while let Some(mut chunk) = host.shared.http.chunk(&mut self.response).await? {
            let known = chunk.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            chunk.advance(known);
            self.skip -= known as u64;
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}

/// What to write into `Range`; nothing for a whole blob.
fn range(position: u64, end: u64, size: u64) -> Option<String> {
    match (position, end) {
        (0, end) if end == size => None,
        (position, end) if end == size => Some(format!("bytes={position}-")),
        (position, end) => Some(format!("bytes={position}-{}", end - 1)),
    }
}

/// The first byte of `bytes FIRST-LAST/LENGTH`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_names_its_first_byte() {
        assert_eq!(first_byte("bytes 7-9/10"), Some(7));
        assert_eq!(first_byte("bytes 0-0/*"), Some(0));
        for range in ["", "bytes */10", "items 7-9/10", "bytes -9/10"] {
            assert_eq!(first_byte(range), None, "{range}");
        }
    }

    #[test]
    fn a_whole_blob_is_asked_for_without_a_range() {
        assert_eq!(range(0, 10, 10), None);
        assert_eq!(range(4, 10, 10).as_deref(), Some("bytes=4-"));
        assert_eq!(range(0, 4, 10).as_deref(), Some("bytes=0-3"));
        assert_eq!(range(4, 8, 10).as_deref(), Some("bytes=4-7"));
    }
}
