//! What holds for all caches of a controller.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use larder_api::{PullBy, PullPolicy, ValidCache};
use larder_core::{ImageRef, ReferenceError};

/// How the controller was told to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How often moving tags are asked for again; none for never.
    pub refresh: Option<Duration>,
    /// How long one pull may take where its cache does not say.
    pub deadline: Duration,
    /// Whether what is there is pulled again where its cache does not say.
    pub pull_policy: PullPolicy,
    /// How long a purge waits for nodes that do not answer.
    pub purge_deadline: Duration,
    /// Where images may come from; empty for everywhere.
    pub allowed: Vec<AllowedRegistry>,
    /// Whose caches are taken; empty for everybody's.
    pub namespaces: BTreeSet<String>,
    /// Whether something carries out pulls by Job; without, caches that want them are refused.
    pub jobs: bool,
}

/// A registry, or a part of one, that images may come from: `registry.example`, `docker.io/library`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRegistry(String);

/// A text names no registry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no registry, such as registry.example:5000 or docker.io/library")]
pub struct RegistryError {
    text: String,
    #[source]
    source: ReferenceError,
}

impl FromStr for AllowedRegistry {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.trim_end_matches('/');
        // The grammar of references decides what a host and a path are; with one part only, Docker Hub's would become `library`.
        let parsed: Result<ImageRef, _> = format!("{path}/x/x:1").parse();
        match parsed {
            Ok(image) => {
                let name = image.name();
                Ok(Self(name.strip_suffix("/x/x").unwrap_or(&name).to_owned()))
            }
            Err(source) => Err(RegistryError { text: text.to_owned(), source }),
        }
    }
}

impl AllowedRegistry {
    /// Whether `image` is of it, by whole parts of the path.
    fn holds(&self, image: &ImageRef) -> bool {
        image.name().strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Rules {
    /// Why a valid cache of `namespace` is not taken, if so.
    pub(crate) fn forbidden(&self, namespace: &str, cache: &ValidCache) -> Option<String> {
        if !self.namespaces.is_empty() && !self.namespaces.contains(namespace) {
            return Some(format!("the controller takes no caches of namespace {namespace}"));
        }
        if !self.jobs && cache.pull_by == PullBy::Job {
            return Some("pullBy: Job is not carried out by this version; use Agent".to_owned());
        }
        self.foreign(cache)
    }

    /// The first image of a cache that may not come from where it is.
    fn foreign(&self, cache: &ValidCache) -> Option<String> {
        if self.allowed.is_empty() {
            return None;
        }
        let mut images = cache.lists.iter().flat_map(|list| &list.images);
        let (text, _) =
            images.find(|(_, image)| !self.allowed.iter().any(|registry| registry.holds(image)))?;
        let allowed: Vec<&str> = self.allowed.iter().map(|registry| registry.0.as_str()).collect();
        Some(format!("image {text} is not of an allowed registry: {}", allowed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_allowed_by_whole_parts_of_its_path() {
        let table = [
            ("docker.io", "redis", true),
            ("docker.io", "team/redis", true),
            ("docker.io/library", "redis:7", true),
            ("docker.io/library/", "docker.io/team/redis", false),
            ("registry.example:5000", "registry.example:5000/a/b", true),
            ("registry.example", "registry.example:5000/a", false),
            ("registry.example/team", "registry.example/team-b/a", false),
        ];
        for (allowed, image, expected) in table {
            let allowed: AllowedRegistry = allowed.parse().unwrap();
            assert_eq!(allowed.holds(&image.parse().unwrap()), expected, "{allowed:?} {image}");
        }
        for text in ["", "Registry/..", "a b"] {
            assert!(text.parse::<AllowedRegistry>().is_err(), "{text:?}");
        }
    }
}
