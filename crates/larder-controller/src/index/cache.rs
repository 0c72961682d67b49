//! One `ImageCache`: the object, and its spec checked.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use larder_api::{ImageCache, ImageCacheStatus, ValidCache, names, validate};

use super::keep::Entry;

/// A cache's name: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    /// Where it is.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is kept of a cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Without managed fields and without its spec.
    pub(crate) meta: ObjectMeta,
    /// Its spec, or the rule that it breaks.
    pub(crate) valid: Result<ValidCache, String>,
    /// As it was written last.
    pub(crate) status: ImageCacheStatus,
}

impl Entry for Cache {
    type Object = ImageCache;
    type Key = CacheKey;

    fn key(meta: &ObjectMeta) -> CacheKey {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        CacheKey { namespace: text(&meta.namespace), name: text(&meta.name) }
    }

    fn meta(object: &ImageCache) -> &ObjectMeta {
        &object.metadata
    }

    fn of(object: ImageCache) -> Self {
        let ImageCache { mut metadata, spec, status } = object;
        metadata.managed_fields = None;
        let valid = validate(&spec).map_err(|rule| causes(&rule));
        Self { meta: metadata, valid, status: status.unwrap_or_default() }
    }
}

/// An error's message with those of its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}

impl Cache {
    /// Of the spec that the user wrote last.
    pub(crate) fn generation(&self) -> i64 {
        self.meta.generation.unwrap_or_default()
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        Some(self.meta.annotations.as_ref()?.get(name)?.as_str())
    }

    /// Whether its deletion waits for the controller.
    pub(crate) fn has_finalizer(&self) -> bool {
        self.meta.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER)
    }

    /// When it was made.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.meta.creation_timestamp.as_ref().map(|time| time.0)
    }
}
