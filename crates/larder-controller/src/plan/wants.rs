//! What a node is to hold: the wishes of all caches for it, made one entry an image.

use std::collections::BTreeMap;
use std::time::Duration;

use larder_api::{ImageWanted, PullBy, SecretRef, ValidCache};

use super::flight::Flight;
use super::select::Selected;
use super::stage::{Prepared, Stage};
use crate::Rules;
use crate::index::{Node, Set};

/// Entries by image.
pub(super) type Images = BTreeMap<String, ImageWanted>;

/// What `node` is to hold, as far as limits let it begin.
pub(super) fn images(
    name: &str,
    node: &Node,
    set: Option<&Set>,
    selected: &Selected<'_>,
    caches: &[Prepared<'_>],
    rules: &Rules,
    flight: &mut Flight,
) -> Images {
    let held = held(set);
    let mut images = Images::new();
    for &entry in &selected.frozen {
        images.insert(entry.image.clone(), kept(entry, caches));
    }
    for chosen in &selected.caches {
        let cache = &caches[chosen.cache];
        let Stage::Active(valid) = &cache.stage else { continue };
        for image in &chosen.images {
            let mut wish = wish(cache, valid, &image.name, rules);
            let there = images.contains_key(&image.name) || is_asked(held.get(image.name.as_str()), &wish);
            if !there && !flight.admit(cache, name, node.ready, &wish) {
                let Some(entry) = held.get(image.name.as_str()) else { continue };
                // It is there, and only to be looked at again: not now.
                wish.verify_after.clone_from(&entry.verify_after);
            }
            add(&mut images, wish);
        }
    }
    images
}

/// What the node is asked for already, by image.
fn held(set: Option<&Set>) -> BTreeMap<&str, &ImageWanted> {
    let entries = set.into_iter().flat_map(|set| &set.spec.images);
    entries.filter(|entry| entry.purge.is_none()).map(|entry| (entry.image.as_str(), entry)).collect()
}

/// Whether an entry asks for all that a wish makes the node do.
fn is_asked(entry: Option<&&ImageWanted>, wish: &ImageWanted) -> bool {
    entry.is_some_and(|entry| entry.verify_after >= wish.verify_after)
}

/// An entry of caches that are frozen, as it is; other caches have their say anew.
fn kept(entry: &ImageWanted, caches: &[Prepared<'_>]) -> ImageWanted {
    let is_frozen = |name: &String| {
        caches.iter().any(|cache| cache.name == *name && matches!(cache.stage, Stage::Frozen(_)))
    };
    let caches = entry.caches.iter().filter(|name| is_frozen(name)).cloned().collect();
    ImageWanted { caches, ..entry.clone() }
}

fn wish(cache: &Prepared<'_>, valid: &ValidCache, image: &str, rules: &Rules) -> ImageWanted {
    let namespace = &cache.key.namespace;
    let secret = |name: &String| SecretRef { namespace: namespace.clone(), name: name.clone() };
    ImageWanted {
        image: image.to_owned(),
        pull_by: valid.pull_by,
        pull_policy: valid.pull_policy.max(rules.pull_policy),
        pin: valid.pin,
        pull_secrets: valid.pull_secrets.iter().map(secret).collect(),
        deadline_seconds: Some(seconds(valid.deadline.unwrap_or(rules.deadline))),
        verify_after: cache.since().cloned(),
        purge: None,
        caches: vec![cache.name.clone()],
    }
}

/// At least one: a deadline below a second is no deadline at all for whoever reads whole seconds.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).max(1)
}

/// Two wishes for an image become one that serves both.
fn add(images: &mut Images, wish: ImageWanted) {
    let Some(entry) = images.get_mut(&wish.image) else {
        images.insert(wish.image.clone(), wish);
        return;
    };
    let ImageWanted {
        image: _,
        pull_by,
        pull_policy,
        pin,
        pull_secrets,
        deadline_seconds,
        verify_after,
        purge: _,
        caches,
    } = wish;
    // Only the agent can pin and purge.
    if pull_by == PullBy::Agent {
        entry.pull_by = PullBy::Agent;
    }
    entry.pull_policy = entry.pull_policy.max(pull_policy);
    entry.pin |= pin;
    entry.deadline_seconds = entry.deadline_seconds.max(deadline_seconds);
    if verify_after > entry.verify_after {
        entry.verify_after = verify_after;
    }
    extend(&mut entry.pull_secrets, pull_secrets);
    extend(&mut entry.caches, caches);
}

fn extend<T: Ord>(into: &mut Vec<T>, more: Vec<T>) {
    into.extend(more);
    into.sort();
    into.dedup();
}
