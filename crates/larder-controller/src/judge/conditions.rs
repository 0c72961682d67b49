//! The conditions of a cache, beside the releases' words.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use larder_api::{CacheReason, ConditionType, KeptImage, Truth, set_condition};

use super::Tally;
use super::status::{Outcome, kept_text};
use super::tally::Capped;
use crate::Clock;
use crate::plan::PreparedCache;

/// The releases' words for an action under way.
pub(super) fn message_of(reason: CacheReason) -> &'static str {
    match reason {
        CacheReason::ImageCacheUpdate => {
            "Image cache is being updated. Please view the status after some time"
        }
        CacheReason::ImageCacheRefresh => {
            "Image cache is being refreshed. Please view the status after some time"
        }
        CacheReason::ImageCachePurge => "Image cache is being purged. Please view the status after some time",
        CacheReason::ImageCacheDelete => {
            "Images in the cache are being deleted. Please view the status after some time"
        }
        CacheReason::ImageCacheCreate
        | CacheReason::ImagePullFailedOnSomeNodes
        | CacheReason::ImagePullStatusUnknown
        | CacheReason::ImageDeleteFailedForSomeImages
        | CacheReason::CacheSpecValidationFailed => {
            "Images are being pulled on to the nodes. Please view the status after some time"
        }
    }
}

/// Conditions, made one by one; those that are not made are not kept.
pub(super) struct Conditions {
    old: Vec<Condition>,
    made: Vec<&'static str>,
    generation: i64,
    now: Timestamp,
}

impl Conditions {
    pub(super) fn new(cache: &PreparedCache<'_>, clock: &Clock) -> Self {
        let old = cache.cache.status.conditions.clone();
        Self { old, made: Vec::new(), generation: cache.cache.generation(), now: clock.now().0 }
    }

    pub(super) fn active(&mut self, outcome: Outcome, reason: CacheReason, tally: &Tally) {
        let (ready, why) = match outcome {
            Outcome::NoNodes => (Truth::False, "NoNodesSelected"),
            Outcome::Working => (Truth::False, "Pulling"),
            Outcome::Waiting => (Truth::False, "NodesWaiting"),
            Outcome::Failed => (Truth::False, "PullFailed"),
            Outcome::Capped => (Truth::False, "Capped"),
            Outcome::Unknown => (Truth::Unknown, "NotConfirmed"),
            Outcome::Warm => (Truth::True, "Warm"),
        };
        self.set(ConditionType::Ready, ready, why, counts(tally));
        let working = matches!(outcome, Outcome::Working | Outcome::Waiting);
        self.progressing(working, if working { reason.name() } else { "Settled" });
        match (&tally.capped, tally.counts.failed) {
            (_, 1..) => self.degraded(true, "PullFailed", String::new()),
            (Some(_), _) => self.degraded(true, "Capped", String::new()),
            (None, _) => self.degraded(false, "AsWanted", String::new()),
        }
        if let Some(capped) = &tally.capped {
            self.set(ConditionType::Capped, Truth::True, "TooManyImages", capped_text(capped));
        }
    }

    pub(super) fn frozen(&mut self, rule: &str) {
        let reason = CacheReason::CacheSpecValidationFailed.name();
        self.set(ConditionType::Ready, Truth::False, reason, rule.to_owned());
        self.progressing(false, reason);
        self.degraded(true, reason, rule.to_owned());
    }

    pub(super) fn purging(&mut self, reason: CacheReason, by_job: bool) {
        self.set(ConditionType::Ready, Truth::False, "Purging", String::new());
        self.progressing(true, reason.name());
        self.degraded(false, "AsWanted", String::new());
        self.purge_unavailable(by_job);
    }

    pub(super) fn purged(&mut self, kept: &[KeptImage], failed: bool, by_job: bool) {
        let text = if kept.is_empty() { String::new() } else { kept_text(kept) };
        self.set(ConditionType::Ready, Truth::False, "Purged", text);
        self.progressing(false, "Settled");
        self.degraded(failed, if failed { "PurgeFailed" } else { "AsWanted" }, String::new());
        self.purge_unavailable(by_job);
    }

    fn purge_unavailable(&mut self, by_job: bool) {
        if by_job {
            let text = "images that the kubelet pulled are left to its garbage collection".to_owned();
            self.set(ConditionType::PurgeUnavailable, Truth::True, "PulledByJob", text);
        }
    }

    fn progressing(&mut self, so: bool, reason: &str) {
        self.set(ConditionType::Progressing, so.into(), reason, String::new());
    }

    fn degraded(&mut self, so: bool, reason: &str, message: String) {
        self.set(ConditionType::Degraded, so.into(), reason, message);
    }

    fn set(&mut self, kind: ConditionType, status: Truth, reason: &str, message: String) {
        self.made.push(kind.name());
        set_condition(&mut self.old, kind, status, reason, message, Some(self.generation), self.now);
    }

    pub(super) fn done(self) -> Vec<Condition> {
        let Self { mut old, made, .. } = self;
        old.retain(|condition| made.contains(&condition.type_.as_str()));
        old
    }
}

fn counts(tally: &Tally) -> String {
    let c = &tally.counts;
    let mut text = format!("{} of {} nodes are warm", c.ready, c.wanted);
    for (count, what) in
        [(c.failed, "failed"), (c.unknown, "do not answer"), (c.waiting, "are not Ready or cordoned")]
    {
        if count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    let empty: Vec<String> =
        (1..=tally.lists.len()).filter(|at| !tally.lists[at - 1]).map(|at| at.to_string()).collect();
    if !empty.is_empty() {
        text = format!("{text}; no node is selected by list {}", empty.join(", "));
    }
    text
}

fn capped_text(capped: &Capped) -> String {
    let Capped { nodes, node, images, some } = capped;
    let named = some.join(", ");
    let more = images - some.len();
    let and = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("a node holds no more: {node} lacks {named}{and}; so on {nodes} nodes")
}
