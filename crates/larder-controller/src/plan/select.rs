//! Which images each cache wants on a node, and which of them are too many for one set.

use std::collections::BTreeSet;

use larder_api::{ImageWanted, MAX_IMAGES};

use super::stage::{Image, Prepared, Stage};
use crate::index::{Node, Set};

/// Bytes of a set's images, as `weight` counts them: the API server refuses objects above 1.5 MiB.
const MAX_WEIGHT: usize = 1_150_000;
/// An image's share of a set besides its name: its fields in spec and status, and a message of full length.
const FIELDS: usize = 800;
/// How often an image's name stands in a set: in spec and status.
const NAMES: usize = 2;

/// What is wanted of one node.
#[derive(Debug, Default)]
pub(crate) struct Selected<'a> {
    /// By the caches that select it, the oldest first.
    pub(crate) caches: Vec<Chosen<'a>>,
    /// What the node holds for caches that are frozen.
    pub(crate) frozen: Vec<&'a ImageWanted>,
}

/// What one cache wants of one node.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    /// The cache's place among the prepared.
    pub(crate) cache: usize,
    /// Which of its lists select the node.
    pub(crate) lists: Vec<usize>,
    /// What it wants there.
    pub(crate) images: Vec<&'a Image<'a>>,
    /// What it would want, had the set room.
    pub(crate) capped: Vec<&'a Image<'a>>,
}

/// How much of a set is taken.
#[derive(Default)]
struct Room<'a> {
    names: BTreeSet<&'a str>,
    weight: usize,
}

impl<'a> Room<'a> {
    /// Whether there is, or was, room for it.
    fn take(&mut self, name: &'a str) -> bool {
        if self.names.contains(name) {
            return true;
        }
        let weight = self.weight + weight(name);
        if self.names.len() >= MAX_IMAGES || weight > MAX_WEIGHT {
            return false;
        }
        self.weight = weight;
        self.names.insert(name)
    }
}

pub(super) fn weight(name: &str) -> usize {
    FIELDS + NAMES * name.len()
}

/// Whether so many images of this weight fit into one set.
pub(super) fn fits(images: usize, weight: usize) -> bool {
    images <= MAX_IMAGES && weight <= MAX_WEIGHT
}

/// What is wanted of `node`: first what frozen caches hold there, then active caches by age.
pub(super) fn select<'a>(node: &Node, set: Option<&'a Set>, caches: &'a [Prepared<'a>]) -> Selected<'a> {
    let mut room = Room::default();
    let frozen = frozen(set, caches);
    for entry in &frozen {
        room.take(&entry.image);
    }
    let chosen = caches.iter().enumerate().filter_map(|(at, cache)| choose(at, cache, node, &mut room));
    Selected { caches: chosen.collect(), frozen }
}

fn frozen<'a>(set: Option<&'a Set>, caches: &[Prepared<'_>]) -> Vec<&'a ImageWanted> {
    let names: BTreeSet<&str> = caches
        .iter()
        .filter(|cache| matches!(cache.stage, Stage::Frozen(_)))
        .map(|cache| cache.name.as_str())
        .collect();
    if names.is_empty() {
        return Vec::new();
    }
    let held = |entry: &&ImageWanted| {
        entry.purge.is_none() && entry.caches.iter().any(|cache| names.contains(cache.as_str()))
    };
    set.into_iter().flat_map(|set| &set.spec.images).filter(held).collect()
}

fn choose<'a>(at: usize, cache: &'a Prepared<'a>, node: &Node, room: &mut Room<'a>) -> Option<Chosen<'a>> {
    let lists: Vec<usize> =
        (0..cache.lists.len()).filter(|&list| cache.lists[list].nodes.matches(&node.labels)).collect();
    if lists.is_empty() {
        return None;
    }
    let wanted = lists.iter().flat_map(|&list| &cache.lists[list].images);
    let (images, capped) = wanted.partition(|image| room.take(&image.name));
    Some(Chosen { cache: at, lists, images, capped })
}
