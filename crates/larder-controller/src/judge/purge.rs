//! How far a purge is: what the nodes answered that hold images of a cache.

use std::collections::BTreeMap;

use larder_api::{Failure, ImagePhase, ImageSeen, ImageWanted, KeptImage, PullBy};

use super::tally::MAX_FAILURES;
use crate::index::{Index, Node, Set};
use crate::plan::PreparedCache;

/// Of the nodes that kept an image, how many are named.
const NAMED: usize = 5;

/// What became of a cache's images on the nodes.
#[derive(Debug, Default)]
pub(crate) struct PurgeTally {
    /// What stayed, by image.
    pub(crate) kept: BTreeMap<String, KeptImage>,
    /// Who has not answered yet, of the nodes that can.
    pub(crate) pending: BTreeMap<String, Vec<Failure>>,
    told: usize,
}

impl PurgeTally {
    /// Of a cache that is being purged; nothing of others.
    pub(crate) fn of(cache: &PreparedCache<'_>, index: &Index) -> Self {
        let mut tally = Self::default();
        if cache.is_purging() {
            let nodes = index.sets.iter().filter_map(|(name, set)| Some((name, index.nodes.get(name)?, set)));
            for (name, node, set) in nodes {
                tally.add(cache, name, node, set);
            }
        }
        tally
    }

    fn add(&mut self, cache: &PreparedCache<'_>, name: &str, node: &Node, set: &Set) {
        let seen = set.status.by_image();
        for entry in set.spec.images.iter().filter(|entry| entry.caches.contains(&cache.name)) {
            let answer = seen.get(entry.image.as_str()).filter(|seen| is_answer(entry, seen));
            match answer {
                Some(answer) if answer.phase == ImagePhase::Kept => self.keep(cache, name, answer),
                None if node.ready => self.wait(cache, name, entry),
                Some(_) | None => {}
            }
        }
    }

    fn keep(&mut self, cache: &PreparedCache<'_>, node: &str, answer: &ImageSeen) {
        let image = text_of(cache, &answer.image);
        let words = || answer.message.clone().or_else(|| answer.reason.clone()).unwrap_or_default();
        let kept = self.kept.entry(image.clone());
        let kept = kept.or_insert_with(|| KeptImage { image, nodes: 0, some: Vec::new(), message: words() });
        kept.nodes += 1;
        if kept.some.len() < NAMED {
            kept.some.push(node.to_owned());
        }
    }

    fn wait(&mut self, cache: &PreparedCache<'_>, node: &str, entry: &ImageWanted) {
        self.told += 1;
        let failures = self.pending.entry(text_of(cache, &entry.image)).or_default();
        if self.told <= MAX_FAILURES {
            let message = "the agent of the node did not answer the purge".to_owned();
            failures.push(Failure { node: node.to_owned(), reason: "NoAnswer".to_owned(), message });
        }
    }
}

fn is_answer(entry: &ImageWanted, seen: &ImageSeen) -> bool {
    entry.purge.is_some()
        && entry.pull_by == PullBy::Agent
        && seen.purge == entry.purge
        && matches!(seen.phase, ImagePhase::Removed | ImagePhase::Kept)
}

/// An image as the cache's spec writes it, where it still does.
fn text_of(cache: &PreparedCache<'_>, name: &str) -> String {
    let lists = cache.cache.valid.iter().flat_map(|valid| &valid.lists);
    let mut images = lists.flat_map(|list| &list.images);
    images.find(|(_, image)| image.to_string() == name).map_or(name, |(text, _)| text).to_owned()
}
