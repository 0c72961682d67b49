//! What the controller has seen: caches, nodes and their sets, reduced to what decisions need. Watches and the answers to the
//! controller's own writes feed it; it writes nothing and decides nothing.

mod cache;
mod keep;
mod node;
mod set;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use larder_api::{CacheStatus, ImageCache, NodeImageSet};

pub use cache::CacheKey;
pub use keep::Keep;

pub(crate) use cache::Cache;
pub(crate) use node::Node;
pub(crate) use set::Set;

/// Everything that was seen, by name.
#[derive(Debug, Default)]
pub struct Index {
    /// The caches.
    pub caches: Keep<CacheKey, Cache>,
    /// The nodes.
    pub nodes: Keep<String, Node>,
    /// The sets, named after their nodes.
    pub sets: Keep<String, Set>,
}

/// One thing that a watch, or the answer to a write, says.
#[derive(Debug)]
pub enum Change<K> {
    /// It is there, and so.
    Applied(K),
    /// It is gone.
    Deleted(K),
    /// All that is there follows, each as `Listed`, up to `Complete`.
    Begin,
    /// One of all.
    Listed(K),
    /// What was not listed is gone.
    Complete,
}

impl Index {
    /// Whether every kind has been listed once: before that, what is missing is only not yet known.
    pub fn is_complete(&self) -> bool {
        self.caches.is_complete() && self.nodes.is_complete() && self.sets.is_complete()
    }

    /// Takes a change of a cache; whether decisions may hang on it.
    pub fn cache(&mut self, change: Change<ImageCache>) -> bool {
        self.caches.take(change)
    }

    /// Takes a change of a node; most are heartbeats, which change nothing.
    pub fn node(&mut self, change: Change<v1::Node>) -> bool {
        self.nodes.take(change)
    }

    /// Takes a change of a set.
    pub fn set(&mut self, change: Change<NodeImageSet>) -> bool {
        self.sets.take(change)
    }

    /// How many caches have each status, for metrics.
    pub(crate) fn caches_by_status(&self) -> impl Iterator<Item = (&'static str, usize)> {
        use CacheStatus::{Failed, NoImagesPulledOrDeleted, Processing, Succeeded, Unknown};
        [Processing, Succeeded, Failed, Unknown, NoImagesPulledOrDeleted].into_iter().map(|status| {
            let has = |cache: &&Cache| cache.status.status.as_deref() == Some(status.name());
            (status.name(), self.caches.iter().map(|(_, cache)| cache).filter(has).count())
        })
    }

    /// The caches by age, which is the order in which they get what is scarce.
    pub(crate) fn caches_by_age(&self) -> Vec<(&CacheKey, &Cache)> {
        let mut caches: Vec<_> = self.caches.iter().collect();
        caches.sort_by(|(a, one), (b, other)| one.created().cmp(&other.created()).then(a.cmp(b)));
        caches
    }
}

/// Labels of a node.
pub(crate) type Labels = BTreeMap<String, String>;
