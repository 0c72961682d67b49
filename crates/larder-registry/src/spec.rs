//! What a person types to name an image and where it comes from. Parsing only: nothing is opened here.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use larder_core::{ImageRef, ReferenceError};

const OCI: &str = "oci:";
const NAMED_OCI: &str = "=oci:";
const DOCKER_ARCHIVE: &str = "docker-archive:";
const NAMED_DOCKER_ARCHIVE: &str = "=docker-archive:";

/// An image, or several, and where to find them: `REF`, `[REF=]oci:DIR[:TAG]` or `docker-archive:FILE`.
///
/// A text that starts with `oci:` or `docker-archive:` is never a reference; an image of Docker Hub with such a name
/// is written `docker.io/library/oci:TAG`. The directory ends at the first colon, as skopeo reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageSpec {
    /// An image in a registry.
    Registry(ImageRef),
    /// An image in an OCI layout.
    OciLayout {
        /// The directory that holds `oci-layout` and `index.json`.
        dir: PathBuf,
        /// Which image: its reference name in `index.json`; without it the layout must hold one image.
        tag: Option<String>,
        /// The name to give it; without it the layout's annotations name it, or the directory and the tag.
        name: Option<ImageRef>,
    },
    /// Every image in an archive that `docker save` wrote.
    DockerArchive {
        /// The archive, uncompressed.
        file: PathBuf,
    },
}

/// Why a text names no image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// The reference, or the name before `=oci:`, breaks the grammar.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The part after `oci:` or `docker-archive:` is missing.
    #[error("{0:?}: expected {OCI}DIR[:TAG] or {DOCKER_ARCHIVE}FILE")]
    Incomplete(String),
    /// A docker archive brings its own names.
    #[error("{0:?}: a docker archive names its images itself, write {DOCKER_ARCHIVE}FILE")]
    NamedArchive(String),
}

impl FromStr for ImageSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let incomplete = || SpecError::Incomplete(text.to_owned());
        if let Some(rest) = text.strip_prefix(OCI) {
            return oci_layout(None, rest).ok_or_else(incomplete);
        }
        if let Some(file) = text.strip_prefix(DOCKER_ARCHIVE) {
            return match file {
                "" => Err(incomplete()),
                file => Ok(Self::DockerArchive { file: file.into() }),
            };
        }
        if text.contains(NAMED_DOCKER_ARCHIVE) {
            return Err(SpecError::NamedArchive(text.to_owned()));
        }
        match text.split_once(NAMED_OCI) {
            Some((name, rest)) => oci_layout(Some(name.parse()?), rest).ok_or_else(incomplete),
            None => Ok(Self::Registry(text.parse()?)),
        }
    }
}

fn oci_layout(name: Option<ImageRef>, rest: &str) -> Option<ImageSpec> {
    let (dir, tag) = match rest.split_once(':') {
        Some((dir, tag)) => (dir, Some(tag)),
        None => (rest, None),
    };
    let complete = !dir.is_empty() && tag != Some("");
    complete.then(|| ImageSpec::OciLayout { dir: dir.into(), tag: tag.map(str::to_owned), name })
}

impl fmt::Display for ImageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::OciLayout { dir, tag, name } => {
                if let Some(name) = name {
                    write!(f, "{name}=")?;
                }
                write!(f, "{OCI}{}", dir.display())?;
                tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
            }
            Self::DockerArchive { file } => write!(f, "{DOCKER_ARCHIVE}{}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &str, tag: Option<&str>, name: Option<&str>) -> ImageSpec {
        let name = name.map(|name| name.parse().unwrap());
        ImageSpec::OciLayout { dir: dir.into(), tag: tag.map(str::to_owned), name }
    }

    #[test]
    fn each_kind_of_source_is_read_and_displayed() {
        let table = [
            ("docker.io/library/redis:7", ImageSpec::Registry("redis:7".parse().unwrap())),
            ("oci:/a/b", layout("/a/b", None, None)),
            ("oci:b:v1", layout("b", Some("v1"), None)),
            ("oci:b:ghcr.io/x/y:1", layout("b", Some("ghcr.io/x/y:1"), None)),
            ("ghcr.io/x/y:1=oci:b:v1", layout("b", Some("v1"), Some("ghcr.io/x/y:1"))),
            ("docker-archive:a:b.tar", ImageSpec::DockerArchive { file: "a:b.tar".into() }),
        ];
        for (text, spec) in table {
            assert_eq!(text.parse(), Ok(spec.clone()), "{text}");
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn incomplete_specs_are_refused() {
        for text in ["oci:", "oci::tag", "oci:dir:", "a=oci:", "docker-archive:"] {
            assert_eq!(text.parse::<ImageSpec>(), Err(SpecError::Incomplete(text.to_owned())));
        }
        let named = "a=docker-archive:b.tar";
        assert_eq!(named.parse::<ImageSpec>(), Err(SpecError::NamedArchive(named.to_owned())));
        assert!(matches!("A B=oci:dir".parse::<ImageSpec>(), Err(SpecError::Reference(_))));
    }
}
