//! The watches. One object that cannot be read cuts none of them.

use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt as _, select_all};
use k8s_openapi::api::core::v1::Node;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{Config, DefaultBackoff, Event, watcher};
use kube::runtime::{WatchStreamExt as _, utils::Backoff};
use kube::{Api, Client, Resource, ResourceExt as _};
use larder_api::{ImageCache, NodeImageSet};
use serde::de::DeserializeOwned;

use crate::index::Change;

/// Objects in one answer to a list: a set may have half a megabyte.
const PAGE: u32 = 100;
/// An API server that comes back is found again within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a watch says.
#[derive(Debug)]
pub(super) enum Seen {
    Cache(Box<Change<ImageCache>>),
    Node(Box<Change<Node>>),
    Set(Box<Change<NodeImageSet>>),
}

/// Everything that the controller has to know, for ever.
pub(super) fn all(client: &Client) -> BoxStream<'static, Seen> {
    let caches = changes(Api::<DeserializeGuard<ImageCache>>::all(client.clone()))
        .map(|change| Seen::Cache(Box::new(change)));
    let nodes = changes(Api::<DeserializeGuard<Node>>::all(client.clone()))
        .map(|change| Seen::Node(Box::new(change)));
    let sets = changes(Api::<DeserializeGuard<NodeImageSet>>::all(client.clone()))
        .map(|change| Seen::Set(Box::new(change)));
    select_all([caches.boxed(), nodes.boxed(), sets.boxed()]).boxed()
}

fn changes<K>(api: Api<DeserializeGuard<K>>) -> BoxStream<'static, Change<K>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let events = watcher(api, Config::default().page_size(PAGE)).backoff(Impatient::default());
    let change = |event| async move {
        match event {
            Ok(event) => change::<K>(event),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch was cut, and is begun again");
                None
            }
        }
    };
    events.filter_map(change).boxed()
}

fn change<K: Resource<DynamicType = ()>>(event: Event<DeserializeGuard<K>>) -> Option<Change<K>> {
    match event {
        Event::Apply(guard) => readable(guard).map(Change::Applied),
        Event::Delete(guard) => readable(guard).map(Change::Deleted),
        Event::Init => Some(Change::Begin),
        Event::InitApply(guard) => readable(guard).map(Change::Listed),
        Event::InitDone => Some(Change::Complete),
    }
}

fn readable<K: Resource<DynamicType = ()>>(guard: DeserializeGuard<K>) -> Option<K> {
    let name = guard.name_any();
    guard
        .0
        .inspect_err(|error| tracing::warn!(kind = %K::kind(&()), name, %error, "an object is passed over"))
        .ok()
}

/// The usual waits of a watch, up to `LONGEST_WAIT`.
#[derive(Default)]
struct Impatient(DefaultBackoff);

impl Iterator for Impatient {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(LONGEST_WAIT))
    }
}

impl Backoff for Impatient {
    fn reset(&mut self) {
        self.0.reset();
    }
}
