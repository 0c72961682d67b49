//! What is to be written on a cache: at most one thing a pass, so that none of them makes the next one void.

use larder_api::{CacheReason, CacheStatus, ImageCacheStatus, names};

use super::stage::{Prepared, Stage};
use super::{CacheStep, CacheWrite};
use crate::judge::{PurgeTally, Tally, status};
use crate::{Clock, Rules};

/// The next write on `cache`, if any.
pub(super) fn write(
    cache: &Prepared<'_>,
    tally: Tally,
    purge: &PurgeTally,
    rules: &Rules,
    clock: &mut Clock,
) -> Option<CacheWrite> {
    let step = match &cache.stage {
        Stage::Active(_) if !cache.cache.has_finalizer() => Some(with_finalizer(cache)),
        Stage::Active(valid) => active(cache, status::active(cache, valid, tally, clock)),
        Stage::Frozen(rule) => differing(cache, status::frozen(cache, rule, clock)),
        Stage::Purged => differing(cache, status::purged(cache, clock)),
        Stage::Purging => purging(cache, purge, rules, clock),
        Stage::Deleting => deleting(cache, purge, rules, clock),
    };
    step.map(|step| CacheWrite {
        cache: cache.key.clone(),
        version: cache.cache.meta.resource_version.clone(),
        step,
    })
}

fn differing(cache: &Prepared<'_>, status: ImageCacheStatus) -> Option<CacheStep> {
    (cache.cache.status != status).then(|| CacheStep::Status(Box::new(status)))
}

/// The annotation goes once the status says that the refresh is done.
fn active(cache: &Prepared<'_>, status: ImageCacheStatus) -> Option<CacheStep> {
    let done = status.refresh.is_some() && status.status.as_deref() != Some(CacheStatus::Processing.name());
    let taken_off = || done.then_some(CacheStep::TakeOff(names::REFRESH));
    differing(cache, status).or_else(taken_off)
}

/// The annotation goes while the status says that the purge is under way: after it, a new generation is an edit.
fn purging(cache: &Prepared<'_>, purge: &PurgeTally, rules: &Rules, clock: &mut Clock) -> Option<CacheStep> {
    let (status, over) = status::purging(cache, purge, CacheReason::ImageCachePurge, rules, clock);
    differing(cache, status).or_else(|| over.then_some(CacheStep::TakeOff(names::PURGE)))
}

fn deleting(cache: &Prepared<'_>, purge: &PurgeTally, rules: &Rules, clock: &mut Clock) -> Option<CacheStep> {
    if !cache.cache.has_finalizer() {
        return None;
    }
    let (status, over) = status::purging(cache, purge, CacheReason::ImageCacheDelete, rules, clock);
    differing(cache, status).or_else(|| over.then(|| without_finalizer(cache)))
}

fn with_finalizer(cache: &Prepared<'_>) -> CacheStep {
    let mut finalizers = cache.cache.meta.finalizers.clone().unwrap_or_default();
    finalizers.push(names::FINALIZER.to_owned());
    CacheStep::Finalizers(finalizers)
}

fn without_finalizer(cache: &Prepared<'_>) -> CacheStep {
    let all = cache.cache.meta.finalizers.iter().flatten();
    CacheStep::Finalizers(all.filter(|finalizer| *finalizer != names::FINALIZER).cloned().collect())
}
