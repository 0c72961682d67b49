//! One pass: from what was seen to what is to be written. Only differences are in a plan, so where all is as it should be, it is
//! empty; and it follows from the objects alone, so a controller that ends anywhere is carried on by the next.

mod caches;
mod flight;
mod select;
mod sets;
mod stage;
mod wants;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use larder_api::{ImageCacheStatus, NodeImageSetSpec};

use crate::index::{CacheKey, Index};
use crate::judge::{PurgeTally, Tally, is_warm};
use crate::{Clock, Rules};
use flight::Flight;
use stage::Prepared;

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// On sets.
    pub sets: Vec<SetWrite>,
    /// On caches, at most one each.
    pub caches: Vec<CacheWrite>,
    /// On nodes.
    pub nodes: Vec<NodeWrite>,
    /// When to look again though nothing was changed.
    pub next: Option<Timestamp>,
}

/// A write on the set of a node.
#[derive(Debug, PartialEq)]
pub struct SetWrite {
    /// The node, and so the set.
    pub node: String,
    /// What is to be done.
    pub step: SetStep,
}

/// What is to be done with a set.
#[derive(Debug, PartialEq)]
pub enum SetStep {
    /// It is to be so, and to go with the node of this UID.
    Apply {
        /// The node's UID.
        owner: String,
        /// The whole spec.
        spec: NodeImageSetSpec,
    },
    /// The one of this UID is to go.
    Delete {
        /// The set's UID.
        uid: Option<String>,
    },
}

/// A write on a cache.
#[derive(Debug, PartialEq)]
pub struct CacheWrite {
    /// Which one.
    pub cache: CacheKey,
    /// What the decision was made of: a write on metadata is void on any other version.
    pub version: Option<String>,
    /// What is to be done.
    pub step: CacheStep,
}

/// What is to be done with a cache.
#[derive(Debug, PartialEq)]
pub enum CacheStep {
    /// Its finalizers are to be these: ours came, or went.
    Finalizers(Vec<String>),
    /// A request was carried out: its annotation goes.
    TakeOff(&'static str),
    /// Its status is to be so.
    Status(Box<ImageCacheStatus>),
}

/// A write on a node: condition and label.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeWrite {
    /// Which one.
    pub node: String,
    /// Whether it is warm; none where nothing is wanted of it, and nothing is to be said.
    pub warm: Option<bool>,
    /// Since now.
    pub since: Time,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.caches.is_empty() && self.nodes.is_empty()
    }
}

/// What is to be written, given what was seen, at `now`.
pub fn plan(index: &Index, rules: &Rules, now: Timestamp) -> Plan {
    let mut clock = Clock::at(now);
    let caches = stage::prepare(index, rules);
    let mut tallies: Vec<Tally> = caches.iter().map(|cache| Tally::new(cache.lists.len())).collect();
    let mut plan = Plan::default();
    plan_nodes(index, rules, &caches, &mut tallies, &mut clock, &mut plan);
    plan.sets.extend(sets::of_vanished_nodes(index));
    for (cache, tally) in caches.iter().zip(tallies) {
        let purge = PurgeTally::of(cache, index);
        plan.caches.extend(caches::write(cache, tally, &purge, rules, &mut clock));
    }
    plan.next = clock.next();
    plan
}

/// The set, the judgement, and the label of each node.
fn plan_nodes(
    index: &Index,
    rules: &Rules,
    caches: &[Prepared<'_>],
    tallies: &mut [Tally],
    clock: &mut Clock,
    plan: &mut Plan,
) {
    let mut flight = Flight::seen(index, caches, clock);
    let purging: BTreeSet<&str> =
        caches.iter().filter(|cache| cache.is_purging()).map(|cache| cache.name.as_str()).collect();
    for (name, node) in index.nodes.iter() {
        let set = index.sets.get(name);
        let selected = select::select(node, set, caches);
        let images = wants::images(name, node, set, &selected, caches, rules, &mut flight);
        plan.sets.extend(sets::write(name, node, set, images, &purging, rules, clock));
        for chosen in &selected.caches {
            tallies[chosen.cache].add(name, node, set, chosen, caches[chosen.cache].since(), clock);
        }
        let warm = is_warm(set, &selected, clock);
        if !node.says(warm) {
            plan.nodes.push(NodeWrite { node: name.clone(), warm, since: clock.now() });
        }
    }
}

pub(crate) use select::{Chosen, Selected};
pub(crate) use stage::{Image, Prepared as PreparedCache};

#[cfg(test)]
mod tests;
