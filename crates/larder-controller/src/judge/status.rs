//! The next status of a cache, from its last one and what is known. The words are the releases'.

use larder_api::{CacheReason, CacheStatus, ImageCacheStatus, KeptImage, PullBy, Refresh, ValidCache, names};

use super::conditions::{self, Conditions};
use super::{PurgeTally, Tally};
use crate::plan::PreparedCache;
use crate::{Clock, Rules};

use CacheReason::{
    CacheSpecValidationFailed, ImageCacheCreate, ImageCachePurge, ImageCacheRefresh, ImageCacheUpdate,
};

const PULLED: &str = "All requested images pulled succesfully to respective nodes";
const DELETED: &str = "All cached images succesfully deleted from respective nodes";
const PULL_FAILED: &str = "Image pull failed on some nodes. Please see \"failures\" section";
const DELETE_FAILED: &str = "Image deletion failed for some images. Please see \"failures\" section";
const PULL_UNKNOWN: &str =
    "Unable to get the status of Image pull. Retry after some time or contact cluster administrator";
/// Ours, where the releases have no words.
const KEPT: &str =
    "All cached images that nothing uses deleted from respective nodes. Please see \"kept\" section";
const NO_NODES: &str = "No node has the labels that the cache selects";
const CAPPED: &str = "Some images are left out. Please see the condition Capped";
const WAITING: &str = "No selected node is Ready and takes pods. Waiting for them";

/// Of a cache whose images are wanted.
pub(crate) fn active(
    cache: &PreparedCache<'_>,
    valid: &ValidCache,
    tally: Tally,
    clock: &Clock,
) -> ImageCacheStatus {
    let old = &cache.cache.status;
    let refresh = refresh(cache, clock);
    let outcome = outcome(&tally, refresh.is_some() && (tally.unsettled > 0 || refresh != old.refresh));
    let begun = begun(cache, refresh.as_ref(), outcome);
    let reason = begun.or_else(|| verb(old)).unwrap_or(ImageCacheUpdate);
    let mut conditions = Conditions::new(cache, clock);
    conditions.active(outcome, reason, &tally);
    let Tally { counts, failures, .. } = tally;
    ImageCacheStatus {
        status: Some(outcome.status().name().to_owned()),
        reason: Some(reason.name().to_owned()),
        message: Some(outcome.message(reason).to_owned()),
        start_time: begun.map_or_else(|| old.start_time.clone(), |_| Some(clock.now())),
        completion_time: completion(old, outcome.status(), begun.is_some(), clock),
        failures,
        observed_generation: Some(cache.cache.generation()),
        conditions: conditions.done(),
        images: Some(images(valid)),
        nodes: Some(counts),
        nodes_ready: Some(format!("{}/{}", counts.ready, counts.wanted)),
        kept: Vec::new(),
        purged_generation: None,
        refresh,
    }
}

/// Of a cache that breaks `rule`: what nodes hold for it stays.
pub(crate) fn frozen(cache: &PreparedCache<'_>, rule: &str, clock: &Clock) -> ImageCacheStatus {
    let old = &cache.cache.status;
    let is_new = old.observed_generation != Some(cache.cache.generation())
        || old.reason.as_deref() != Some(CacheSpecValidationFailed.name());
    let mut conditions = Conditions::new(cache, clock);
    conditions.frozen(rule);
    ImageCacheStatus {
        start_time: if is_new { Some(clock.now()) } else { old.start_time.clone() },
        completion_time: completion(old, CacheStatus::Failed, is_new, clock),
        conditions: conditions.done(),
        failures: std::collections::BTreeMap::new(),
        ..told(old, cache, CacheStatus::Failed, CacheSpecValidationFailed, rule)
    }
}

/// Of a cache whose images are to leave, and whether nothing is left to wait for.
pub(crate) fn purging(
    cache: &PreparedCache<'_>,
    tally: &PurgeTally,
    reason: CacheReason,
    rules: &Rules,
    clock: &mut Clock,
) -> (ImageCacheStatus, bool) {
    let old = &cache.cache.status;
    let is_begun = is_begun(old, reason);
    let since = if is_begun { old.start_time.clone() } else { None }.unwrap_or_else(|| clock.now());
    let deleted = cache.cache.meta.deletion_timestamp.clone().unwrap_or_else(|| since.clone());
    let is_late = clock.passed(&deleted, rules.purge_deadline);
    let generation = old.observed_generation.filter(|_| is_begun).unwrap_or(cache.cache.generation());
    let mut conditions = Conditions::new(cache, clock);
    conditions.purging(reason, is_by_job(cache));
    let message = conditions::message_of(reason);
    let status = ImageCacheStatus {
        start_time: Some(since),
        completion_time: None,
        conditions: conditions.done(),
        failures: if is_late { tally.pending.clone() } else { std::collections::BTreeMap::new() },
        kept: tally.kept.values().cloned().collect(),
        observed_generation: Some(generation),
        purged_generation: Some(generation),
        ..told(old, cache, CacheStatus::Processing, reason, message)
    };
    (status, is_begun && (tally.pending.is_empty() || is_late))
}

/// Of a cache whose images have left.
pub(crate) fn purged(cache: &PreparedCache<'_>, clock: &Clock) -> ImageCacheStatus {
    let old = &cache.cache.status;
    let (status, message) = match (old.failures.is_empty(), old.kept.is_empty()) {
        (false, _) => (CacheStatus::Failed, DELETE_FAILED),
        (true, false) => (CacheStatus::Succeeded, KEPT),
        (true, true) => (CacheStatus::Succeeded, DELETED),
    };
    let mut conditions = Conditions::new(cache, clock);
    conditions.purged(&old.kept, !old.failures.is_empty(), is_by_job(cache));
    ImageCacheStatus {
        completion_time: completion(old, status, false, clock),
        conditions: conditions.done(),
        ..told(old, cache, status, ImageCachePurge, message)
    }
}

/// The old status with other words; what it counts is of another time.
fn told(
    old: &ImageCacheStatus,
    cache: &PreparedCache<'_>,
    status: CacheStatus,
    reason: CacheReason,
    message: &str,
) -> ImageCacheStatus {
    ImageCacheStatus {
        status: Some(status.name().to_owned()),
        reason: Some(reason.name().to_owned()),
        message: Some(message.to_owned()),
        observed_generation: Some(cache.cache.generation()),
        nodes: None,
        nodes_ready: None,
        refresh: None,
        ..old.clone()
    }
}

/// What an active cache has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    NoNodes,
    Working,
    Waiting,
    Failed,
    Capped,
    Unknown,
    Warm,
}

impl Outcome {
    fn status(self) -> CacheStatus {
        match self {
            Self::NoNodes => CacheStatus::NoImagesPulledOrDeleted,
            Self::Working | Self::Waiting => CacheStatus::Processing,
            Self::Failed | Self::Capped => CacheStatus::Failed,
            Self::Unknown => CacheStatus::Unknown,
            Self::Warm => CacheStatus::Succeeded,
        }
    }

    fn message(self, reason: CacheReason) -> &'static str {
        match self {
            Self::NoNodes => NO_NODES,
            Self::Working => conditions::message_of(reason),
            Self::Waiting => WAITING,
            Self::Failed => PULL_FAILED,
            Self::Capped => CAPPED,
            Self::Unknown => PULL_UNKNOWN,
            Self::Warm => PULLED,
        }
    }
}

fn outcome(tally: &Tally, refreshing: bool) -> Outcome {
    let counts = &tally.counts;
    let only_waiting = counts.ready == 0 && counts.failed == 0 && counts.unknown == 0;
    match () {
        () if counts.wanted == 0 => Outcome::NoNodes,
        () if tally.working > 0 || refreshing => Outcome::Working,
        () if only_waiting && counts.waiting > 0 => Outcome::Waiting,
        () if counts.failed > 0 => Outcome::Failed,
        () if tally.capped.is_some() => Outcome::Capped,
        () if counts.unknown > 0 => Outcome::Unknown,
        () => Outcome::Warm,
    }
}

/// The refresh that the annotation asks for: the one under way, or a new one from now on.
fn refresh(cache: &PreparedCache<'_>, clock: &Clock) -> Option<Refresh> {
    let value = cache.cache.annotation(names::REFRESH)?;
    let under_way = cache.cache.status.refresh.clone().filter(|refresh| refresh.value == value);
    Some(under_way.unwrap_or_else(|| Refresh { value: value.to_owned(), since: clock.after_now() }))
}

/// The action that begins with this status, if one does.
fn begun(cache: &PreparedCache<'_>, refresh: Option<&Refresh>, outcome: Outcome) -> Option<CacheReason> {
    let old = &cache.cache.status;
    let was_processing = old.status.as_deref() == Some(CacheStatus::Processing.name());
    let again = outcome.status() == CacheStatus::Processing && !was_processing;
    match () {
        () if old.status.is_none() => Some(ImageCacheCreate),
        () if refresh.is_some() && refresh != old.refresh.as_ref() => Some(ImageCacheRefresh),
        () if old.observed_generation != Some(cache.cache.generation()) => Some(ImageCacheUpdate),
        () if verb(old).is_none() => Some(ImageCacheUpdate),
        () if again => Some(ImageCacheRefresh),
        () => None,
    }
}

/// The action of the last status, where it was one of an active cache.
fn verb(old: &ImageCacheStatus) -> Option<CacheReason> {
    let verbs = [ImageCacheCreate, ImageCacheUpdate, ImageCacheRefresh];
    verbs.into_iter().find(|verb| old.reason.as_deref() == Some(verb.name()))
}

fn completion(
    old: &ImageCacheStatus,
    status: CacheStatus,
    begun: bool,
    clock: &Clock,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    let unchanged = !begun && old.status.as_deref() == Some(status.name());
    match status {
        CacheStatus::Processing => None,
        _ if unchanged => old.completion_time.clone().or_else(|| Some(clock.now())),
        _ => Some(clock.now()),
    }
}

fn is_begun(old: &ImageCacheStatus, reason: CacheReason) -> bool {
    old.reason.as_deref() == Some(reason.name())
        && old.status.as_deref() == Some(CacheStatus::Processing.name())
}

fn is_by_job(cache: &PreparedCache<'_>) -> bool {
    cache.cache.valid.as_ref().is_ok_and(|valid| valid.pull_by == PullBy::Job)
}

/// Distinct images that a cache names.
fn images(valid: &ValidCache) -> i32 {
    let images: std::collections::BTreeSet<_> =
        valid.lists.iter().flat_map(|list| &list.images).map(|(_, image)| image).collect();
    i32::try_from(images.len()).unwrap_or(i32::MAX)
}

/// How many nodes kept something, for a message.
pub(super) fn kept_text(kept: &[KeptImage]) -> String {
    let names: Vec<&str> = kept.iter().take(5).map(|kept| kept.image.as_str()).collect();
    format!("{} images stayed on nodes: {}", kept.len(), names.join(", "))
}
