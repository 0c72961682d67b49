//! The image that the printed pods run: Larder's own.

use std::str::FromStr;

use larder_core::{Digest, ImageRef, ReferenceError};

/// Where the image is, unless `--image` says otherwise. Whoever publishes builds names the place when building; the default
/// belongs to nobody, so that it never brings a stranger's image: it is for nodes that were given the image by hand.
pub(crate) const REPOSITORY: &str = match option_env!("LARDER_IMAGE") {
    Some(repository) => repository,
    None => "docker.io/library/larder",
};

/// The tag of the image that belongs to this program.
pub(crate) const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// A tag, or a digest, of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `v0.1.0`
    Tag(String),
    /// `sha256:...`
    Digest(Digest),
}

/// Why repository and version make no image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum VersionError {
    /// The repository has a tag or a digest of its own.
    #[error("--image {0} has a tag or a digest: give that as the version")]
    Repository(String),
    /// They do not make a reference.
    #[error("the image to run")]
    Reference(#[from] ReferenceError),
}

impl FromStr for Version {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Tag(text.to_owned()), Self::Digest))
    }
}

impl Version {
    /// The whole reference of the image.
    pub(crate) fn of(&self, repository: &str) -> Result<ImageRef, VersionError> {
        let last = repository.rsplit('/').next().unwrap_or(repository);
        if last.contains([':', '@']) {
            return Err(VersionError::Repository(repository.to_owned()));
        }
        Ok(match self {
            Self::Tag(tag) => format!("{repository}:{tag}").parse()?,
            Self::Digest(digest) => format!("{repository}@{digest}").parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_tag_or_a_digest() {
        let of = |repository: &str, version: &str| {
            version.parse::<Version>().unwrap().of(repository).map(|image| image.to_string())
        };
        assert_eq!(of("larder", "v0.2.2").unwrap(), "docker.io/library/larder:v0.2.2");
        assert_eq!(of("a:5000/b", "v1").unwrap(), "a:5000/b:v1");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(of("a.io/b", &digest).unwrap(), format!("a.io/b@{digest}"));
        assert!(of("a.io/b:1", "v1").is_err());
        assert!(of("a.io/B", "v1").is_err());
        assert!(of("a.io/b", "").is_err());
        assert!(of("a.io/b", "v1 vanilla").is_err());
        assert!(of(REPOSITORY, TAG).is_ok());
    }
}
