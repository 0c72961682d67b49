//! What is to be done now, from what is wanted and what is known.

use larder_api::ImageReason;

use super::record::{Answer, Failure, Now, Pull, Purged, Record};
use super::spec::{Entry, Spec};
use super::state::State;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Pull an image.
    Pull {
        image: String,
        /// At this node's own moment: many nodes may want it just now.
        spread: bool,
    },
    /// Do nothing more about pulling an image.
    GiveUp { image: String },
    /// Remove an image, if it is ours and nothing uses it.
    Purge { image: String, token: String },
    /// Tell the runtime to keep an image, or not to any longer.
    Pin { image: String, pinned: bool },
}

impl State {
    /// Decides for every image. A pull that makes an image ours begins when it `is_announced`.
    pub(super) fn decide(
        &mut self,
        spec: &Spec,
        is_announced: impl Fn(&str) -> bool,
        now: Now,
    ) -> Vec<Action> {
        let mut actions = self.forget(spec);
        let pressure = self.pressure;
        for (image, entry) in &spec.entries {
            let record = self.records.entry(image.clone()).or_default();
            if entry.name.is_err() {
                // What has no name cannot be there.
                let removed = |token: &String| Answer { token: token.clone(), outcome: Purged::Removed };
                record.answer = entry.wanted.purge.as_ref().map(removed);
                continue;
            }
            if !record.looked {
                continue;
            }
            record.plan_refresh(spec, entry, now);
            let action = match &entry.wanted.purge {
                Some(token) => record.leave(image, token),
                None => record.stay(image, entry, pressure, is_announced(&entry.wanted.image), now),
            };
            actions.extend(action);
        }
        actions
    }

    /// Images that nobody wants any more are left as they are.
    fn forget(&mut self, spec: &Spec) -> Vec<Action> {
        let gone: Vec<_> =
            self.records.extract_if(.., |image, _| !spec.entries.contains_key(image)).collect();
        let pulled = gone.into_iter().filter(|(_, record)| matches!(record.pull, Pull::Under { .. }));
        pulled.map(|(image, _)| Action::GiveUp { image }).collect()
    }
}

impl Record {
    /// The image is to leave the node.
    fn leave(&mut self, image: &str, token: &str) -> Option<Action> {
        let image = image.to_owned();
        if self.answer.as_ref().is_some_and(|answer| answer.token == token) {
            return None;
        }
        let pull = std::mem::take(&mut self.pull);
        if let Pull::Under { .. } = pull {
            return Some(Action::GiveUp { image });
        }
        Some(Action::Purge { image, token: token.to_owned() })
    }

    /// The image is to be on the node.
    fn stay(
        &mut self,
        image: &str,
        entry: &Entry,
        pressure: bool,
        is_announced: bool,
        now: Now,
    ) -> Option<Action> {
        self.answer = None;
        match (self.present.is_some(), self.pull) {
            (true, Pull::Under { begun: false, .. }) if !self.is_due(entry, now) => {
                self.pull = Pull::Idle;
                Some(Action::GiveUp { image: image.to_owned() })
            }
            (_, Pull::Under { .. }) => None,
            (_, Pull::Held { until }) if now.at < until => self.keep(image, entry),
            (_, Pull::Refused) if !self.is_due(entry, now) => self.keep(image, entry),
            (true, _) if self.is_due(entry, now) => Some(self.begin(image, entry, true)),
            (true, _) => {
                self.pull = Pull::Idle;
                self.keep(image, entry)
            }
            (false, Pull::Announced) => is_announced.then(|| self.begin(image, entry, !self.lost)),
            (false, _) => self.fetch(image, entry, pressure, is_announced, now),
        }
    }

    /// It is not there, and nothing is done about it yet.
    fn fetch(
        &mut self,
        image: &str,
        entry: &Entry,
        pressure: bool,
        is_announced: bool,
        now: Now,
    ) -> Option<Action> {
        if self.lost && pressure {
            let message = "it was removed from the node, whose disk is too full to pull it again".to_owned();
            self.failure = Some(Failure { reason: ImageReason::DiskPressure, message });
            self.hold(now);
            return None;
        }
        if self.failure.as_ref().is_some_and(|failure| failure.reason != ImageReason::DiskPressure) {
            return Some(self.begin(image, entry, false));
        }
        self.failure = None;
        self.pull = Pull::Announced;
        is_announced.then(|| self.begin(image, entry, !self.lost))
    }

    fn begin(&mut self, image: &str, entry: &Entry, spread: bool) -> Action {
        self.pull = Pull::Under { begun: false, percent: None };
        self.pulling_for = entry.verify_after();
        Action::Pull { image: image.to_owned(), spread }
    }

    /// Tells the runtime of a pin, once.
    fn keep(&mut self, image: &str, entry: &Entry) -> Option<Action> {
        let pinned = entry.wanted.pin;
        let present = self.present.as_ref()?;
        let is_told = self.pinned == Some(pinned) || !(pinned || present.pinned);
        (!is_told).then(|| Action::Pin { image: image.to_owned(), pinned })
    }

    /// Whether the registry is to be asked, again or for the first time.
    fn is_due(&self, entry: &Entry, now: Now) -> bool {
        let again = self.is_wanted_again(entry) || self.refresh_at.is_some_and(|at| at <= now.at);
        match self.present {
            Some(_) => entry.may_change() && (!self.asked || again),
            None => again,
        }
    }

    /// After a start nodes begin to refresh at any moment of the period; a period that became shorter counts at once.
    fn plan_refresh(&mut self, spec: &Spec, entry: &Entry, now: Now) {
        let latest = spec.refresh.map(|period| now.at + period.mul_f64(1.1));
        self.refresh_at = match (self.refresh_at, latest, spec.refresh) {
            (Some(at), Some(latest), _) if at <= latest => Some(at),
            (_, _, Some(period)) if entry.may_change() || self.pull == Pull::Refused => {
                Some(now.at + period.mul_f64(now.chance))
            }
            _ => None,
        };
    }
}
