//! One cache on all its nodes, counted.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use larder_api::{Failure, NodeCounts};

use super::Standing;
use super::standing::{Answers, Reason};
use crate::Clock;
use crate::index::{Node, Set};
use crate::plan::{Chosen, Image};

/// Failures that a status names in all: it must stay well below the size that the API server takes.
pub(crate) const MAX_FAILURES: usize = 100;
/// Of what is left out, how much is named.
const NAMED: usize = 5;

/// What is known of a cache's nodes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: NodeCounts,
    /// Nodes that are asked and not done.
    pub(crate) working: usize,
    /// Nodes that are asked, and have not answered the refresh.
    pub(crate) unsettled: usize,
    pub(crate) failures: BTreeMap<String, Vec<Failure>>,
    told: usize,
    /// What sets have no room for.
    pub(crate) capped: Option<Capped>,
    /// Of each list, whether it selects a node.
    pub(crate) lists: Vec<bool>,
}

/// Images that a node cannot be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Capped {
    /// On how many nodes.
    pub(crate) nodes: usize,
    /// The first of them.
    pub(crate) node: String,
    /// How many images there.
    pub(crate) images: usize,
    /// Some of them.
    pub(crate) some: Vec<String>,
}

/// One node of a cache.
#[derive(Debug, Default)]
struct OfNode<'a> {
    failed: Vec<(&'a Image<'a>, Reason)>,
    unknown: Vec<(&'a Image<'a>, Reason)>,
    working: bool,
    unsettled: bool,
}

impl Tally {
    /// Of a cache with so many lists.
    pub(crate) fn new(lists: usize) -> Self {
        Self { lists: vec![false; lists], ..Self::default() }
    }

    /// Counts one node in.
    pub(crate) fn add(
        &mut self,
        name: &str,
        node: &Node,
        set: Option<&Set>,
        chosen: &Chosen<'_>,
        since: Option<&Time>,
        clock: &mut Clock,
    ) {
        chosen.lists.iter().for_each(|&list| self.lists[list] = true);
        self.cap(name, chosen);
        let of_node = of_node(set, chosen, since, clock);
        let is_warm = !of_node.working && of_node.failed.is_empty() && of_node.unknown.is_empty();
        self.counts.wanted += 1;
        match () {
            () if is_warm => self.counts.ready += 1,
            () if !node.is_asked() => self.counts.waiting += 1,
            () if !of_node.failed.is_empty() => self.counts.failed += 1,
            () if !of_node.unknown.is_empty() => self.counts.unknown += 1,
            () => {}
        }
        if node.is_asked() {
            self.working += usize::from(of_node.working);
            self.unsettled += usize::from(of_node.unsettled);
            for (image, reason) in of_node.failed.into_iter().chain(of_node.unknown) {
                self.fail(image.text, name, reason);
            }
        }
    }

    fn fail(&mut self, image: &str, node: &str, Reason { reason, message }: Reason) {
        self.told += 1;
        if self.told <= MAX_FAILURES {
            let failure = Failure { node: node.to_owned(), reason, message };
            self.failures.entry(image.to_owned()).or_default().push(failure);
        }
    }

    fn cap(&mut self, node: &str, chosen: &Chosen<'_>) {
        if chosen.capped.is_empty() {
            return;
        }
        match &mut self.capped {
            Some(capped) => capped.nodes += 1,
            None => {
                self.capped = Some(Capped {
                    nodes: 1,
                    node: node.to_owned(),
                    images: chosen.capped.len(),
                    some: chosen.capped.iter().take(NAMED).map(|image| image.text.to_owned()).collect(),
                });
            }
        }
    }
}

fn of_node<'a>(
    set: Option<&Set>,
    chosen: &Chosen<'a>,
    since: Option<&Time>,
    clock: &mut Clock,
) -> OfNode<'a> {
    let answers = Answers::of(set);
    let answered = set.is_some_and(Set::is_answered);
    let mut node = OfNode::default();
    for &image in &chosen.images {
        let asked_since = answers.entry(&image.name).and_then(|entry| entry.verify_after.as_ref());
        let standing = answers.standing(&image.name, clock);
        node.unsettled |= match &standing {
            _ if asked_since < since => true,
            Standing::Warm | Standing::Unknown(_) => false,
            Standing::Working => true,
            // An answer to the refresh, or one from before it?
            Standing::Failed(_) => !answered,
        };
        match standing {
            Standing::Warm => {}
            Standing::Working => node.working = true,
            Standing::Failed(reason) => node.failed.push((image, reason)),
            Standing::Unknown(reason) => node.unknown.push((image, reason)),
        }
    }
    node
}
