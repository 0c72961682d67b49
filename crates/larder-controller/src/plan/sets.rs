//! From what a node is to hold to the next spec of its set: what nobody wants any more is purged first, then forgotten.

use std::collections::BTreeSet;

use larder_api::{ImagePhase, ImageSeen, ImageWanted, NodeImageSetSpec, PullBy};

use super::select::{fits, weight};
use super::wants::{Images, seconds};
use super::{SetStep, SetWrite};
use crate::index::{Index, Node, Set};
use crate::{Clock, Rules};

/// The write that makes the set of a node ask for `images`, unless it does.
pub(super) fn write(
    name: &str,
    node: &Node,
    set: Option<&Set>,
    images: Images,
    purging: &BTreeSet<&str>,
    rules: &Rules,
    clock: &Clock,
) -> Option<SetWrite> {
    let images = entries(set, images, purging, clock);
    let step = match set {
        None if images.is_empty() => return None,
        Some(set) if images.is_empty() => SetStep::Delete { uid: set.uid.clone() },
        _ => {
            let spec = NodeImageSetSpec { images, refresh_seconds: rules.refresh.map(seconds) };
            if set.is_some_and(|set| set.spec == spec && set.owner.as_ref() == Some(&node.uid)) {
                return None;
            }
            SetStep::Apply { owner: node.uid.clone(), spec }
        }
    };
    Some(SetWrite { node: name.to_owned(), step })
}

/// Sets whose node is not there.
pub(super) fn of_vanished_nodes(index: &Index) -> impl Iterator<Item = SetWrite> {
    index
        .sets
        .iter()
        .filter(|(name, _)| index.nodes.get(name).is_none())
        .map(|(name, set)| SetWrite { node: name.clone(), step: SetStep::Delete { uid: set.uid.clone() } })
}

/// All entries of the next spec, by image.
fn entries(
    set: Option<&Set>,
    mut images: Images,
    purging: &BTreeSet<&str>,
    clock: &Clock,
) -> Vec<ImageWanted> {
    let Some(set) = set else { return images.into_values().collect() };
    let seen = set.status.by_image();
    let mut going = Vec::new();
    for entry in &set.spec.images {
        match images.get_mut(&entry.image) {
            Some(wanted) => carry_over(wanted, entry, clock),
            None => going.extend(let_go(entry, seen.get(entry.image.as_str()).copied(), set, purging)),
        }
    }
    make_room(&mut images, set, &going);
    images.extend(going.into_iter().map(|entry| (entry.image.clone(), entry)));
    images.into_values().collect()
}

/// A moment once asked for stays, for taking it back would be a write. What was being purged must be confirmed anew.
fn carry_over(wanted: &mut ImageWanted, entry: &ImageWanted, clock: &Clock) {
    let since = if entry.purge.is_some() { Some(clock.after_now()) } else { entry.verify_after.clone() };
    if since > wanted.verify_after {
        wanted.verify_after = since;
    }
}

/// What becomes of an entry that nobody wants: it is purged, and stays until the agent has answered and nobody waits for that.
fn let_go(
    entry: &ImageWanted,
    seen: Option<&ImageSeen>,
    set: &Set,
    purging: &BTreeSet<&str>,
) -> Option<ImageWanted> {
    if entry.pull_by == PullBy::Job {
        return None;
    }
    if entry.purge.is_none() {
        return Some(ImageWanted { purge: Some(set.generation.to_string()), ..entry.clone() });
    }
    let is_waited_for = || entry.caches.iter().any(|cache| purging.contains(cache.as_str()));
    (!is_answered(entry, seen) || is_waited_for()).then(|| entry.clone())
}

/// Whether the agent has acted on the purge of an entry.
pub(crate) fn is_answered(entry: &ImageWanted, seen: Option<&ImageSeen>) -> bool {
    seen.is_some_and(|seen| {
        seen.purge == entry.purge && matches!(seen.phase, ImagePhase::Removed | ImagePhase::Kept)
    })
}

/// New images wait while those that go take their place.
fn make_room(images: &mut Images, set: &Set, going: &[ImageWanted]) {
    let weights = |names: &mut dyn Iterator<Item = &String>| names.map(|name| weight(name)).sum::<usize>();
    let taken = weights(&mut going.iter().map(|entry| &entry.image));
    if fits(images.len() + going.len(), weights(&mut images.keys()) + taken) {
        return;
    }
    let held: BTreeSet<&String> = set.spec.images.iter().map(|entry| &entry.image).collect();
    let old = || images.keys().filter(|name| held.contains(name));
    let (mut count, mut all) = (old().count() + going.len(), weights(&mut old()) + taken);
    images.retain(|name, _| {
        if held.contains(name) {
            return true;
        }
        let has_room = fits(count + 1, all + weight(name));
        if has_room {
            (count, all) = (count + 1, all + weight(name));
        }
        has_room
    });
}
