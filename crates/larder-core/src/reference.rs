//! Image references, normalised as Docker, containerd and kubelet do it.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError};

const DOCKER_HUB: &str = "docker.io";
/// The reference grammar's limit on a repository name, registry included.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised reference to an image in a registry: `docker.io/library/redis:7`.
///
/// Follows the grammar of `github.com/distribution/reference`; a reference with neither tag nor digest has the tag `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// The text is empty.
    #[error("an image reference is empty")]
    Empty,
    /// The registry's host or port breaks the grammar.
    #[error("image reference {reference:?}: {registry:?} is not a registry host")]
    Registry {
        /// The whole text.
        reference: String,
        /// The part of it.
        registry: String,
    },
    /// The repository breaks the grammar; upper case is the common cause.
    #[error(
        "image reference {reference:?}: {repository:?} is not a repository name (lower-case letters, digits, and . _ - between them)"
    )]
    Repository {
        /// The whole text.
        reference: String,
        /// The part of it.
        repository: String,
    },
    /// The tag breaks the grammar.
    #[error("image reference {reference:?}: {tag:?} is not a tag")]
    Tag {
        /// The whole text.
        reference: String,
        /// The part of it.
        tag: String,
    },
    /// The part after `@` is no digest.
    #[error("image reference {reference:?}")]
    Digest {
        /// The whole text.
        reference: String,
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
}

impl ImageRef {
    /// The registry's host, and port where one was given: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry: `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if any.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the image is pinned to, if any.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Registry and repository: `docker.io/library/redis`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository at exactly `digest`: `docker.io/library/redis@sha256:...`.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => match digest.parse() {
                Ok(digest) => (rest, Some(digest)),
                Err(source) => return Err(ReferenceError::Digest { reference: text.to_owned(), source }),
            },
        };
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag { reference: text.to_owned(), tag: tag.to_owned() });
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(registry) {
            return Err(ReferenceError::Registry {
                reference: text.to_owned(),
                registry: registry.to_owned(),
            });
        }
        if !is_repository(&repository) || registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::Repository { reference: text.to_owned(), repository });
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

/// The first path component is a registry when it looks like a host; anything else is on Docker Hub.
fn split_registry(name: &str) -> (&str, String) {
    match name.split_once('/') {
        Some(("index.docker.io" | DOCKER_HUB, rest)) => (DOCKER_HUB, on_docker_hub(rest)),
        Some((host, rest))
            if host == "localhost"
                || host.contains(['.', ':'])
                || host.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (host, rest.to_owned())
        }
        _ => (DOCKER_HUB, on_docker_hub(name)),
    }
}

fn on_docker_hub(repository: &str) -> String {
    if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") }
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let hex = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            return hex && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Components of lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_repository(repository: &str) -> bool {
    repository.split('/').all(|component| {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let separators =
            component.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).filter(|s| !s.is_empty());
        let bytes = component.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_are_normalised_as_docker_does() {
        let table = [
            ("redis", "docker.io/library/redis:latest"),
            ("redis:7", "docker.io/library/redis:7"),
            ("org/name", "docker.io/org/name:latest"),
            ("docker.io/redis", "docker.io/library/redis:latest"),
            ("index.docker.io/org/name:v1", "docker.io/org/name:v1"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("127.0.0.1:5000/team/x:1.2", "127.0.0.1:5000/team/x:1.2"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("ghcr.io/a/b/c__d-e.f", "ghcr.io/a/b/c__d-e.f:latest"),
        ];
        for (text, normalised) in table {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), normalised, "{text}");
        }
    }

    #[test]
    fn a_reference_may_hold_tag_and_digest() {
        let both: ImageRef = format!("redis:7@{DIGEST}").parse().unwrap();
        assert_eq!(both.tag(), Some("7"));
        assert_eq!(both.digest(), Some(DIGEST.parse().unwrap()));
        assert_eq!(both.to_string(), format!("docker.io/library/redis:7@{DIGEST}"));
        let digest_only: ImageRef = format!("redis@{DIGEST}").parse().unwrap();
        assert_eq!(digest_only.tag(), None);
        assert_eq!(both.at(both.digest().unwrap()), digest_only);
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_by_part() {
        for text in ["Redis", "a//b", "a/b/", "a..b", "a___b", "-a", "a-", "re dis", "ré"] {
            assert!(matches!(text.parse::<ImageRef>(), Err(ReferenceError::Repository { .. })), "{text}");
        }
        for text in ["a:", "a:-b", "a:b c"] {
            assert!(matches!(text.parse::<ImageRef>(), Err(ReferenceError::Tag { .. })), "{text}");
        }
        for text in ["a.b:99999/c", "-a.b/c", "a_b.c/d", "[zz]:5/a"] {
            assert!(matches!(text.parse::<ImageRef>(), Err(ReferenceError::Registry { .. })), "{text}");
        }
        assert!(matches!("a@sha256:0".parse::<ImageRef>(), Err(ReferenceError::Digest { .. })));
        assert_eq!("".parse::<ImageRef>(), Err(ReferenceError::Empty));
    }
}
