//! All images of the set, and what happened to them: pure, so that every order of events can be tried. Nothing here acts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use larder_api::{ImagePhase, ImageReason, NodeImageSetStatus, Source};
use tokio::time::Instant;

use super::record::{Answer, Failure, Now, Present, Pull, Purged, Record};
use super::spec::{Entry, Spec};
use crate::cri::ImageSeen;
use crate::fetch::{Limits, Missing, Outcome, Space};

/// Before something is tried again that others must make possible: room, or a secret.
const HOLD: Limits = Limits {
    initial_attempt: Duration::ZERO,
    max_attempt: Duration::ZERO,
    initial_delay: Duration::from_secs(30),
    max_delay: Duration::from_mins(10),
};

/// What is known of the set's images.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) records: BTreeMap<String, Record>,
    /// Whether the disk is near the threshold at which the kubelet removes images.
    pub(super) pressure: bool,
}

/// A look at the runtime.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) begun: Instant,
    pub(super) images: Vec<ImageSeen>,
    pub(super) space: Option<Space>,
}

impl State {
    /// Takes over what an earlier run wrote of images that this one does not know. What a set of that name wanted before is
    /// answered no more.
    pub(super) fn recover(&mut self, status: &NodeImageSetStatus) {
        self.records.values_mut().for_each(|record| record.answer = None);
        for seen in &status.images {
            self.records.entry(seen.image.clone()).or_insert_with(|| Record::recover(seen));
        }
    }

    /// Takes in what the runtime has. `low` is the part of the disk, in hundredths, above which removed images stay away.
    pub(super) fn look(&mut self, spec: &Spec, look: &Look, low: u8, now: Now) {
        self.pressure = look.space.is_some_and(|space| is_above(space, low));
        let index: BTreeMap<&str, &ImageSeen> = look.images.iter().flat_map(named).collect();
        for (image, entry) in &spec.entries {
            let record = self.records.entry(image.clone()).or_default();
            let Ok(name) = &entry.name else { continue };
            if record.changed.is_some_and(|changed| look.begun < changed) {
                continue;
            }
            match index.get(name.exact.as_str()) {
                Some(image) => record.found(entry, image, now),
                None => record.not_found(),
            }
        }
    }

    /// The turn of an image has come.
    pub(super) fn begun(&mut self, image: &str) {
        if let Some(Record { pull: Pull::Under { begun, .. }, .. }) = self.records.get_mut(image) {
            *begun = true;
        }
    }

    /// So much of an image has come.
    pub(super) fn progressed(&mut self, image: &str, done: u64, total: u64) {
        if let Some(Record { pull: Pull::Under { percent, .. }, .. }) = self.records.get_mut(image) {
            let part = (done.saturating_mul(100)).checked_div(total).unwrap_or_default().min(100);
            *percent = i32::try_from(part).ok();
        }
    }

    /// An attempt failed, and another one follows by itself.
    pub(super) fn failed(&mut self, image: &str, message: &str, secret: Option<String>) {
        let Some(record) = self.records.get_mut(image) else { return };
        record.fail(ImageReason::PullFailed, message.to_owned(), secret);
        record.attempt_ended();
    }

    /// A pull is over. `secret` says which of the image's pull secrets could not be read, if any.
    pub(super) fn pulled(
        &mut self,
        spec: &Spec,
        image: &str,
        outcome: Outcome,
        secret: Option<String>,
        now: Now,
    ) {
        let Some(record) = self.records.get_mut(image) else { return };
        record.refresh_at = spec.refresh.map(|period| now.in_about(period));
        record.changed = Some(now.at);
        record.attempt_ended();
        match outcome {
            Ok(_) => record.came(),
            Err(Missing::NoRoom(no_room)) => {
                record.fail(ImageReason::NoRoom, no_room.to_string(), None);
                record.hold(now);
            }
            Err(missing) => {
                let is_refused = secret.is_none() && matches!(missing, Missing::Permanent(_));
                let reason = if is_refused { ImageReason::PullRefused } else { ImageReason::PullFailed };
                record.fail(reason, missing.to_string(), secret);
                if is_refused {
                    record.pull = Pull::Refused;
                } else {
                    record.hold(now);
                }
            }
        }
    }

    /// A purge was acted on.
    pub(super) fn purged(&mut self, image: &str, token: String, outcome: Purged, now: Now) {
        let Some(record) = self.records.get_mut(image) else { return };
        if outcome == Purged::Removed {
            *record = Record { looked: true, changed: Some(now.at), ..Record::default() };
        }
        record.answer = Some(Answer { token, outcome });
    }

    /// The runtime was told to keep an image, or to keep it no longer; or cannot be told.
    pub(super) fn pinned(&mut self, image: &str, pinned: bool, failure: Option<String>) {
        let Some(record) = self.records.get_mut(image) else { return };
        record.pinned = Some(pinned);
        record.pin_failure = failure.filter(|_| pinned);
    }

    /// The pulls that were under way are not any more: the runtime went away.
    pub(super) fn interrupted(&mut self) {
        for record in self.records.values_mut() {
            if let Pull::Under { .. } = record.pull {
                record.pull = Pull::Idle;
            }
            record.looked = false;
        }
    }
}

fn named(image: &ImageSeen) -> impl Iterator<Item = (&str, &ImageSeen)> {
    image.tags.iter().chain(&image.digests).map(move |name| (name.as_str(), image))
}

/// Whether more than `low` hundredths are in use.
fn is_above(space: Space, low: u8) -> bool {
    let used = space.size.saturating_sub(space.free);
    u128::from(used) * 100 >= u128::from(space.size) * u128::from(low)
}

impl Record {
    fn found(&mut self, entry: &Entry, image: &ImageSeen, now: Now) {
        if self.present.is_none() && matches!(self.pull, Pull::Under { begun: true, .. }) && self.looked {
            // Half a pull or somebody else's: its end will tell.
            return;
        }
        self.source.get_or_insert(Source::Found);
        self.present =
            Some(Present { digest: digest(entry, image), bytes: image.size, pinned: image.pinned });
        (self.looked, self.lost, self.earlier, self.holds) = (true, false, None, 0);
        if !self.is_to_be_asked(entry) {
            let after = entry.verify_after();
            self.verified_for = self.verified_for.max(after);
            self.verified_at = Some(after.map_or(now.time, |after| after.max(now.time)));
        }
        if self.failure.as_ref().is_some_and(|failure| failure.reason != ImageReason::RefreshFailed) {
            self.failure = None;
        }
    }

    fn not_found(&mut self) {
        let had = self.earlier.take().is_some_and(|seen| seen.phase == ImagePhase::Warm);
        self.lost |= self.present.take().is_some() || had;
        (self.looked, self.source, self.verified_at) = (true, None, None);
        (self.pinned, self.pin_failure) = (None, None);
    }

    /// Whether its registry must be asked before it counts as verified.
    pub(super) fn is_to_be_asked(&self, entry: &Entry) -> bool {
        entry.may_change() && (!self.asked || self.is_wanted_again(entry))
    }

    /// Whether it is to be verified after a moment that was not acted on yet.
    pub(super) fn is_wanted_again(&self, entry: &Entry) -> bool {
        entry.verify_after() > self.verified_for
    }

    fn attempt_ended(&mut self) {
        self.asked = true;
        self.verified_for = self.verified_for.max(self.pulling_for);
    }

    fn came(&mut self) {
        if self.present.is_none() {
            self.source = Some(Source::Pulled);
        }
        (self.pull, self.failure, self.pinned) = (Pull::Idle, None, None);
        (self.looked, self.lost) = (false, false);
    }

    fn fail(&mut self, reason: ImageReason, message: String, secret: Option<String>) {
        self.failure = Some(match secret {
            _ if self.present.is_some() => Failure { reason: ImageReason::RefreshFailed, message },
            Some(secret) => {
                let message = format!("{secret}; {message}");
                Failure { reason: ImageReason::SecretNotReadable, message }
            }
            None => Failure { reason, message },
        });
    }

    /// Nothing is done for a while, for longer each time.
    pub(super) fn hold(&mut self, now: Now) {
        let times = self.holds + 1;
        self.holds = times;
        self.pull = Pull::Held { until: now.at + HOLD.delay(times, now.chance) };
    }
}

impl Entry {
    pub(super) fn verify_after(&self) -> Option<Timestamp> {
        self.wanted.verify_after.as_ref().map(|time| time.0)
    }
}

/// What the runtime resolved the image to, by the name of its repository.
fn digest(entry: &Entry, image: &ImageSeen) -> Option<String> {
    let repository = entry.name.as_ref().ok()?.wanted.reference.name();
    let of = |name: &String| name.split_once('@').map(|(name, digest)| (name.to_owned(), digest.to_owned()));
    let digests: Vec<_> = image.digests.iter().filter_map(of).collect();
    let own = digests.iter().find(|(name, _)| *name == repository).or(digests.first());
    own.map(|(_, digest)| digest.clone())
}

#[cfg(test)]
mod tests;
