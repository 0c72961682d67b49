//! Where a cache stands, from the object alone, and what it asks of nodes there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use larder_api::{NodeSelector, ValidCache, names};

use crate::Rules;
use crate::index::{Cache, CacheKey, Index};

/// Where a cache stands.
#[derive(Debug, PartialEq)]
pub(crate) enum Stage<'a> {
    /// It is deleted: its images leave the nodes first.
    Deleting,
    /// Its images are to leave the nodes.
    Purging,
    /// They have left, and nothing is wanted before an edit or a refresh.
    Purged,
    /// It breaks a rule: what nodes hold for it stays, and nothing is added.
    Frozen(String),
    /// Its images are wanted.
    Active(&'a ValidCache),
}

/// A cache, ready for a pass.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) key: &'a CacheKey,
    /// The key as sets write it.
    pub(crate) name: String,
    pub(crate) cache: &'a Cache,
    pub(crate) stage: Stage<'a>,
    /// What it asks for; empty unless it is active.
    pub(crate) lists: Vec<List<'a>>,
}

/// Images, and the nodes that they are for.
#[derive(Debug)]
pub(crate) struct List<'a> {
    pub(crate) nodes: &'a NodeSelector,
    pub(crate) images: Vec<Image<'a>>,
}

/// An image of a cache.
#[derive(Debug, PartialEq)]
pub(crate) struct Image<'a> {
    /// As the user wrote it.
    pub(crate) text: &'a str,
    /// As sets write it.
    pub(crate) name: String,
}

/// All caches by age.
pub(super) fn prepare<'a>(index: &'a Index, rules: &Rules) -> Vec<Prepared<'a>> {
    let prepare = |(key, cache): (&'a CacheKey, &'a Cache)| {
        let stage = stage(key, cache, rules);
        let lists = match &stage {
            Stage::Active(valid) => lists(valid),
            Stage::Deleting | Stage::Purging | Stage::Purged | Stage::Frozen(_) => Vec::new(),
        };
        Prepared { key, name: key.to_string(), cache, stage, lists }
    };
    index.caches_by_age().into_iter().map(prepare).collect()
}

fn stage<'a>(key: &CacheKey, cache: &'a Cache, rules: &Rules) -> Stage<'a> {
    let purged = cache.status.purged_generation == Some(cache.generation());
    match &cache.valid {
        _ if cache.meta.deletion_timestamp.is_some() => Stage::Deleting,
        _ if cache.annotation(names::PURGE).is_some() => Stage::Purging,
        _ if purged && cache.annotation(names::REFRESH).is_none() => Stage::Purged,
        Err(rule) => Stage::Frozen(rule.clone()),
        Ok(valid) => rules.forbidden(&key.namespace, valid).map_or(Stage::Active(valid), Stage::Frozen),
    }
}

fn lists(valid: &ValidCache) -> Vec<List<'_>> {
    let lists = valid.lists.iter().map(|list| {
        let images =
            list.images.iter().map(|(text, image)| Image { text, name: image.to_string() }).collect();
        List { nodes: &list.nodes, images }
    });
    lists.collect()
}

impl Prepared<'_> {
    /// Whether it waits for images to leave.
    pub(crate) fn is_purging(&self) -> bool {
        match self.stage {
            Stage::Deleting => self.cache.has_finalizer(),
            Stage::Purging => true,
            Stage::Purged | Stage::Frozen(_) | Stage::Active(_) => false,
        }
    }

    /// Since when confirmations count, where a refresh is under way.
    pub(crate) fn since(&self) -> Option<&Time> {
        let refresh = self.cache.status.refresh.as_ref()?;
        (self.cache.annotation(names::REFRESH) == Some(&refresh.value)).then_some(&refresh.since)
    }
}
