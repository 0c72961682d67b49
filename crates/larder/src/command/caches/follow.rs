//! Watches caches and sets, and tells of every change until told to stop.

use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use larder_api::NodeImageSet;
use serde::de::DeserializeOwned;
use tokio::time::{MissedTickBehavior, interval};

use super::seen::{Objects, Scope, Seen};
use crate::cluster::{Cluster, ClusterError, call};

/// Changes within so long are told together: a fleet that pulls changes all the time.
const TOGETHER: Duration = Duration::from_millis(250);

/// Calls `changed` with all there is, at first and after every change, until it breaks. An API server that is away is waited for; one
/// that was never there is an error.
pub(in crate::command) async fn follow<T>(
    cluster: &Cluster,
    scope: &Scope,
    mut changed: impl FnMut(&Seen) -> ControlFlow<T>,
) -> Result<T, ClusterError> {
    let params = kube::api::ListParams::default().limit(1);
    call("list image caches", scope.caches(cluster).list(&params)).await?;
    let (mut seen, mut pending) = (Seen::default(), Pending { caches: true, sets: true, dirty: false });
    let mut caches = Box::pin(events(scope.caches(cluster), scope.fields()));
    let mut sets = Box::pin(events::<NodeImageSet>(cluster.sets(), None));
    let mut tick = interval(TOGETHER);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(event) = caches.next() => pending.take(&mut seen.caches, event, |pending| &mut pending.caches),
            Some(event) = sets.next() => pending.take(&mut seen.sets, event, |pending| &mut pending.sets),
            _ = tick.tick() => {
                if std::mem::take(&mut pending.dirty) && let ControlFlow::Break(end) = changed(&seen) {
                    return Ok(end);
                }
            }
        }
    }
}

fn events<K>(api: Api<K>, fields: Option<String>) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config { field_selector: fields, ..watcher::Config::default() };
    watcher(api, config).default_backoff()
}

/// What has not been listed yet, and whether anything is to be told: half a list would be told as objects that are gone.
struct Pending {
    caches: bool,
    sets: bool,
    dirty: bool,
}

impl Pending {
    fn take<K: Resource>(
        &mut self,
        objects: &mut Objects<K>,
        event: watcher::Result<Event<K>>,
        listing: fn(&mut Self) -> &mut bool,
    ) {
        match event {
            Ok(Event::Init) => {
                objects.0.clear();
                *listing(self) = true;
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => objects.apply(object),
            Ok(Event::Delete(object)) => objects.delete(&object),
            Ok(Event::InitDone) => *listing(self) = false,
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) if status.is_forbidden() => {
                if std::mem::take(listing(self)) {
                    tracing::warn!(message = status.message, "what may not be seen is not shown");
                }
            }
            Err(error) => tracing::info!(%error, "cannot watch; trying again"),
        }
        self.dirty = !self.caches && !self.sets;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::view::tests::{cache, set};
    use super::*;

    #[test]
    fn nothing_is_told_while_a_list_is_half() {
        let (mut seen, mut pending) = (Seen::default(), Pending { caches: true, sets: true, dirty: false });
        let mut dirty = Vec::new();
        let mut caches = |pending: &mut Pending, event| {
            pending.take(&mut seen.caches, Ok(event), |pending| &mut pending.caches);
            dirty.push((pending.dirty, seen.caches.0.len()));
        };
        let mut sets = Objects::default();
        pending.take(&mut sets, Ok(Event::InitApply(set("n1", &[]))), |pending| &mut pending.sets);
        pending.take(&mut sets, Ok(Event::InitDone), |pending| &mut pending.sets);
        caches(&mut pending, Event::InitApply(cache(&json!({}))));
        caches(&mut pending, Event::InitDone);
        caches(&mut pending, Event::Init);
        caches(&mut pending, Event::InitApply(cache(&json!({}))));
        caches(&mut pending, Event::InitDone);
        caches(&mut pending, Event::Delete(cache(&json!({}))));
        assert_eq!(dirty, [(false, 1), (true, 1), (false, 0), (false, 1), (true, 1), (true, 0)]);
    }
}
