//! An image list that goes into a manifest.

use larder_core::{Digest, ImageRef, ReferenceError};

/// What a ConfigMap holds at most, bytes (Kubernetes, `MaxSecretSize`).
const MAX_LIST: usize = 1 << 20;

/// The text of a list, whose every image can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageList {
    text: String,
    digest: Digest,
}

/// Why a text is no image list.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ImageListError {
    /// It is not UTF-8.
    #[error("it is not text")]
    NotText,
    /// It does not fit.
    #[error("it has {0} bytes, and a ConfigMap holds {MAX_LIST}")]
    Long(usize),
    /// It names nothing.
    #[error("it names no image")]
    Empty,
    /// A line is no image.
    #[error("line {line}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
}

impl ImageList {
    /// Reads a list: an image a line, without blank lines and those that begin with `#`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageListError> {
        if bytes.len() > MAX_LIST {
            return Err(ImageListError::Long(bytes.len()));
        }
        let text = str::from_utf8(bytes).map_err(|_| ImageListError::NotText)?;
        let mut images = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let image: ImageRef =
                line.parse().map_err(|source| ImageListError::Line { line: number + 1, source })?;
            images.push(image.to_string());
        }
        if images.is_empty() {
            return Err(ImageListError::Empty);
        }
        Ok(Self { text: text.to_owned(), digest: Digest::of(images.join("\n").as_bytes()) })
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Of the images and their order: what only the comments or blanks of two lists differ in is the same.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_the_images_alone() {
        let list = |text: &str| ImageList::parse(text.as_bytes()).unwrap().digest();
        assert_eq!(list("debian:12\nredis:7\n"), list("# mine\r\n debian:12 \r\n\r\nredis:7"));
        assert_ne!(list("debian:12\nredis:7\n"), list("redis:7\ndebian:12\n"));
        assert_ne!(list("debian:12\n"), list("debian:12\nredis:7\n"));
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        let said = |bytes: &[u8]| ImageList::parse(bytes).unwrap_err();
        assert_eq!(said(b"# nothing\n\n"), ImageListError::Empty);
        assert_eq!(said(b"a\xff"), ImageListError::NotText);
        assert_eq!(said(&vec![b'#'; MAX_LIST + 1]), ImageListError::Long(MAX_LIST + 1));
        assert!(matches!(said(b"debian:12\n\nDebian:12\n"), ImageListError::Line { line: 3, .. }));
    }
}
