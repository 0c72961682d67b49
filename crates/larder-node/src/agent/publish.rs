//! When a status is written: seldom, for a fleet's writes add up, and soon where somebody waits for what it says.

use std::time::Duration;

use larder_api::{ImagePhase, ImageSeen, NodeImageSetStatus, Source};
use tokio::time::Instant;

use super::record::{Now, about};
use super::spec::{Entry, Spec};

/// What changes at about the same time is written at once; also the least time between two writes.
const BATCH: Duration = Duration::from_secs(1);
/// Between two writes while images are on their way.
const PROGRESS: Duration = Duration::from_secs(10);
/// After a write that failed; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How soon a change is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// There is none, or none that is worth a write.
    None,
    /// Images are on their way, and more will change.
    Progress,
    /// What is true now will stay so.
    Settled,
    /// Pulls wait for it.
    Announcement,
}

/// What the API server has, and when it is to be told more.
#[derive(Clone, Debug, Default)]
pub(super) struct Publication {
    pub(super) written: Option<NodeImageSetStatus>,
    last: Option<Instant>,
    changed: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    /// By chance a little more or less than usual.
    chance: f64,
}

impl Publication {
    /// What a set's status was when it was first seen.
    pub(super) fn of(status: Option<NodeImageSetStatus>, chance: f64) -> Self {
        Self { written: status, chance, ..Self::default() }
    }

    /// Whether the API server has it that this image will be ours; where it does not take what is written, nobody waits.
    pub(super) fn announces(&self, image: &str) -> bool {
        let images = self.written.iter().flat_map(|status| &status.images);
        self.failures > 0 || images.into_iter().any(|seen| seen.image == image && is_announced(seen))
    }

    /// When `status` is to be written; none for never.
    pub(super) fn due(
        &mut self,
        spec: &Spec,
        status: &NodeImageSetStatus,
        verify_every: Duration,
        now: Now,
    ) -> Option<Instant> {
        let mut urgency = urgency(self.written.as_ref(), spec, status, about(verify_every, self.chance));
        if self.failures > 0 {
            // A write that was not answered may have been taken all the same.
            urgency = urgency.max(Urgency::Settled);
        }
        if urgency == Urgency::None {
            self.changed = None;
            return None;
        }
        let changed = *self.changed.get_or_insert(now.at);
        let earliest = |gap| self.last.map_or(now.at, |last| last + gap);
        let due = match urgency {
            Urgency::None => return None,
            Urgency::Announcement => earliest(BATCH),
            Urgency::Settled => earliest(BATCH).max(changed + BATCH),
            Urgency::Progress => earliest(about(PROGRESS, self.chance)).max(changed + BATCH),
        };
        Some(self.retry_at.map_or(due, |retry| due.max(retry)))
    }

    /// It was written.
    pub(super) fn wrote(&mut self, status: NodeImageSetStatus, now: Now) {
        *self = Self { last: Some(now.at), ..Self::of(Some(status), now.chance) };
    }

    /// It could not be written.
    pub(super) fn failed(&mut self, now: Now) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now.at + doubled.mul_f64(0.5 + now.chance / 2.0));
    }
}

fn urgency(
    written: Option<&NodeImageSetStatus>,
    spec: &Spec,
    status: &NodeImageSetStatus,
    verify_every: Duration,
) -> Urgency {
    let blank = NodeImageSetStatus::default();
    let before = written.unwrap_or(&blank).by_image();
    let is_new = |seen: &&ImageSeen| {
        is_announced(seen) && !before.get(seen.image.as_str()).is_some_and(|seen| is_announced(seen))
    };
    if status.images.iter().any(|seen| is_new(&seen)) {
        return Urgency::Announcement;
    }
    let is_same = written.is_some_and(|written| without_times(written) == without_times(status));
    let is_worn =
        |seen: &ImageSeen| is_worn(before.get(seen.image.as_str()).copied(), seen, spec, verify_every);
    if is_same && !status.images.iter().any(is_worn) {
        return Urgency::None;
    }
    let is_answer = written.is_none_or(|written| written.observed_generation != status.observed_generation);
    if is_answer || !status.images.iter().any(is_coming) { Urgency::Settled } else { Urgency::Progress }
}

fn is_coming(seen: &ImageSeen) -> bool {
    matches!(seen.phase, ImagePhase::Pending | ImagePhase::Pulling)
}

fn is_announced(seen: &ImageSeen) -> bool {
    is_coming(seen) && seen.source == Some(Source::Pulled)
}

/// Without what changes with every look.
fn without_times(status: &NodeImageSetStatus) -> NodeImageSetStatus {
    let mut status = status.clone();
    status.images.iter_mut().for_each(|seen| seen.verified_at = None);
    status
}

/// Whether the written confirmation is older by `verify_every`, or from before a moment after which one is asked for.
fn is_worn(old: Option<&ImageSeen>, new: &ImageSeen, spec: &Spec, verify_every: Duration) -> bool {
    let time = |seen: &ImageSeen| seen.verified_at.as_ref().map(|time| time.0);
    match (old.and_then(time), time(new)) {
        (Some(old), Some(new_time)) => {
            let after = spec.entries.get(&new.image).and_then(Entry::verify_after);
            let is_asked_for = after.is_some_and(|after| old < after && after <= new_time);
            is_asked_for || new_time.duration_since(old).unsigned_abs() >= verify_every
        }
        (old, new) => old.is_some() != new.is_some(),
    }
}

#[cfg(test)]
mod tests;
