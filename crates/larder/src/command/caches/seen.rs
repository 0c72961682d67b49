//! What the API server has of the caches that are asked for, and of the nodes.

use std::collections::BTreeMap;

use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt as _};
use larder_api::{ImageCache, NodeImageSet};

use super::view::{CacheView, view};
use crate::cluster::{Cluster, ClusterError, call};

/// Sets are large: so many in one answer.
const PAGE: u32 = 100;

/// Which caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command) enum Scope {
    /// One of the namespace.
    One(String),
    /// The namespace's.
    Namespace,
    /// Those of all namespaces.
    All,
}

impl Scope {
    pub(super) fn caches(&self, cluster: &Cluster) -> Api<ImageCache> {
        match self {
            Self::One(_) | Self::Namespace => cluster.caches(),
            Self::All => cluster.all_caches(),
        }
    }

    /// What a list or watch is to be narrowed to.
    pub(super) fn fields(&self) -> Option<String> {
        match self {
            Self::One(name) => Some(format!("metadata.name={name}")),
            Self::Namespace | Self::All => None,
        }
    }
}

/// Caches by namespace and name, sets by node.
#[derive(Debug, Default)]
pub(in crate::command) struct Seen {
    pub(super) caches: Objects<ImageCache>,
    pub(super) sets: Objects<NodeImageSet>,
}

/// Objects of one kind by namespace and name.
#[derive(Debug)]
pub(super) struct Objects<K>(pub(super) BTreeMap<(String, String), K>);

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Resource> Objects<K> {
    fn key(object: &K) -> (String, String) {
        (object.namespace().unwrap_or_default(), object.name_any())
    }

    pub(super) fn apply(&mut self, object: K) {
        self.0.insert(Self::key(&object), object);
    }

    pub(super) fn delete(&mut self, object: &K) {
        self.0.remove(&Self::key(object));
    }
}

impl Seen {
    /// The cache, where one was asked for.
    pub(in crate::command) fn cache(&self) -> Option<&ImageCache> {
        self.caches.0.values().next()
    }

    /// What it means.
    pub(in crate::command) fn views(&self) -> Vec<CacheView> {
        self.caches.0.values().map(|cache| view(cache, self.sets.0.values())).collect()
    }
}

/// All of it now. Who may not see nodes' sets is told so, and gets the caches.
pub(in crate::command) async fn list(cluster: &Cluster, scope: &Scope) -> Result<Seen, ClusterError> {
    let mut seen = Seen::default();
    let params = ListParams { field_selector: scope.fields(), ..ListParams::default() };
    let caches = call("list image caches", scope.caches(cluster).list(&params)).await?;
    caches.items.into_iter().for_each(|cache| seen.caches.apply(cache));
    let (sets, mut page) = (cluster.sets(), ListParams::default().limit(PAGE));
    loop {
        match call("list node image sets", sets.list(&page)).await {
            Err(ClusterError::Refused { code: 403, message, .. }) => {
                tracing::warn!(message, "nodes cannot be shown");
                return Ok(seen);
            }
            answer => {
                let answer = answer?;
                answer.items.into_iter().for_each(|set| seen.sets.apply(set));
                page.continue_token = answer.metadata.continue_.filter(|token| !token.is_empty());
            }
        }
        if page.continue_token.is_none() {
            return Ok(seen);
        }
    }
}
