//! The bytes of one blob, from its first to its last: a stream that breaks is resumed where it broke.

use bytes::{Buf, Bytes};
use larder_core::{Descriptor, Digest};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};

use super::retry::Backoff;
use super::{RegistryError, Repository};
use crate::endpoint;

/// Bytes after which failures before them no longer count: attempts are bounded by the blob's size, not by its time.
const PROGRESS: u64 = 1 << 20;

/// A blob on its way.
pub(crate) struct BlobStream {
    repository: Repository,
    digest: Digest,
    size: u64,
    received: u64,
    body: Option<Body>,
    backoff: Backoff,
    /// Bytes received when a failure was last forgotten.
    mark: u64,
}

/// An answer, and how much of its front is known already.
struct Body {
    response: Response,
    skip: u64,
}

impl Repository {
    /// The blob of `descriptor`; nothing is asked for before the first `next`.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> BlobStream {
        BlobStream {
            repository: self.clone(),
            digest: descriptor.digest,
            size: descriptor.size,
            received: 0,
            body: None,
            backoff: Backoff::new(self.shared.retry),
            mark: 0,
        }
    }
}

impl BlobStream {
    /// The next bytes; none at the end. An error is final.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            match self.step().await {
                Ok(Some(chunk)) => {
                    self.advance(chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.body = None;
                    self.backoff.wait(error).await?;
                }
            }
        }
    }

    fn advance(&mut self, length: u64) {
        self.received += length;
        if self.received - self.mark >= PROGRESS {
            self.mark = self.received;
            self.backoff.reset();
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, RegistryError> {
        if self.received >= self.size {
            return Ok(None);
        }
        if self.body.is_none() {
            self.body = Some(self.connect().await?);
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        match body.next(&self.repository).await? {
            Some(chunk) => Ok(Some(chunk)),
            None => Err(RegistryError::Short {
                url: endpoint::display(body.response.url()),
                received: self.received,
                expected: self.size,
            }),
        }
    }

    async fn connect(&self) -> Result<Body, RegistryError> {
        let url = self.repository.url("blobs", &self.digest.to_string())?;
        let mut headers = HeaderMap::new();
        if self.received > 0 {
            let range = format!("bytes={}-", self.received);
            headers.extend(HeaderValue::from_str(&range).ok().map(|value| (RANGE, value)));
        }
        let response = self.repository.get(&url, headers).await?;
        let skip = self.check(&response)?;
        Ok(Body { response, skip })
    }

    /// How many bytes of `response` came before: all of them where the registry knows no ranges.
    fn check(&self, response: &Response) -> Result<u64, RegistryError> {
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let url = || endpoint::display(response.url());
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let offset = if partial { self.received } else { 0 };
        let range = header(CONTENT_RANGE).unwrap_or_default();
        if partial && first_byte(range) != Some(self.received) {
            return Err(RegistryError::Range { url: url(), offset: self.received, range: range.to_owned() });
        }
        let expected = self.size - offset;
        match response.content_length() {
            Some(found) if found != expected => {
                let media_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
                Err(RegistryError::Length { url: url(), found, expected, media_type })
            }
            _ => Ok(self.received - offset),
        }
    }
}

impl Body {
    async fn next(&mut self, repository: &Repository) -> Result<Option<Bytes>, RegistryError> {
        while let Some(mut chunk) = repository.shared.http.chunk(&mut self.response).await? {
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
}
