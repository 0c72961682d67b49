//! What is under way in the whole cluster, for the limits that caches set: nodes that pull for a cache, pulls from a registry.

use std::collections::{BTreeSet, HashMap};

use larder_api::ImageWanted;

use super::stage::{Prepared, Stage};
use crate::Clock;
use crate::index::{Index, Node, Set};
use crate::judge::standing;

/// What is under way. Nodes that are not Ready, and pulls that failed, do not count: they would hold up all others.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// By a cache's name.
    nodes: HashMap<String, BTreeSet<String>>,
    /// How many nodes a cache may keep busy, where it says so.
    most: HashMap<String, usize>,
    /// By a registry's host.
    pulls: HashMap<String, usize>,
}

impl Flight {
    /// As the sets say; nothing where no cache has a limit.
    pub(super) fn seen(index: &Index, caches: &[Prepared<'_>], clock: &mut Clock) -> Self {
        let mut flight = Self::default();
        if !caches.iter().any(is_limited) {
            return flight;
        }
        for cache in caches {
            flight.limit(index, cache);
        }
        let ready =
            |(name, set)| Some((name, set)).filter(|_| index.nodes.get(name).is_some_and(|node| node.ready));
        for (name, set) in index.sets.iter().filter_map(ready) {
            flight.add(name, set, clock);
        }
        flight
    }

    fn limit(&mut self, index: &Index, cache: &Prepared<'_>) {
        let Stage::Active(valid) = &cache.stage else { return };
        let Some(most) = valid.max_parallel_nodes else { return };
        let is_selected = |node: &Node| cache.lists.iter().any(|list| list.nodes.matches(&node.labels));
        let nodes = index.nodes.iter().filter(|(_, node)| is_selected(node)).count();
        self.most.insert(cache.name.clone(), most.of(nodes));
    }

    fn add(&mut self, name: &str, set: &Set, clock: &mut Clock) {
        let seen = set.status.by_image();
        for entry in set.spec.images.iter().filter(|entry| entry.purge.is_none()) {
            if standing(entry, seen.get(entry.image.as_str()).copied(), set, clock).is_working() {
                self.begin(name, entry);
            }
        }
    }

    fn begin(&mut self, node: &str, entry: &ImageWanted) {
        *self.pulls.entry(registry(&entry.image).to_owned()).or_default() += 1;
        for cache in &entry.caches {
            if !self.nodes.get(cache).is_some_and(|nodes| nodes.contains(node)) {
                self.nodes.entry(cache.clone()).or_default().insert(node.to_owned());
            }
        }
    }

    /// Whether a cache may begin to ask a node for one more image; if so, it is under way.
    pub(super) fn admit(
        &mut self,
        cache: &Prepared<'_>,
        node: &str,
        ready: bool,
        entry: &ImageWanted,
    ) -> bool {
        if is_limited(cache) && !(ready && self.has_room(cache, node, &entry.image)) {
            return false;
        }
        if ready {
            self.begin(node, entry);
        }
        true
    }

    fn has_room(&self, cache: &Prepared<'_>, node: &str, image: &str) -> bool {
        let Stage::Active(valid) = &cache.stage else { return false };
        let busy = self.nodes.get(&cache.name);
        let nodes = self
            .most
            .get(&cache.name)
            .is_none_or(|most| busy.is_none_or(|busy| busy.contains(node) || busy.len() < *most));
        let pulls = self.pulls.get(registry(image)).copied().unwrap_or_default();
        let most = valid.max_pulls_per_registry.map(|most| usize::try_from(most.get()).unwrap_or(usize::MAX));
        nodes && most.is_none_or(|most| pulls < most)
    }
}

fn is_limited(cache: &Prepared<'_>) -> bool {
    match &cache.stage {
        Stage::Active(valid) => valid.max_parallel_nodes.is_some() || valid.max_pulls_per_registry.is_some(),
        Stage::Deleting | Stage::Purging | Stage::Purged | Stage::Frozen(_) => false,
    }
}

/// The host of a normalised reference.
fn registry(image: &str) -> &str {
    image.split_once('/').map_or(image, |(host, _)| host)
}
