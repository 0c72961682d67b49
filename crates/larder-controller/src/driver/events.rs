//! Events of caches: one when a status or its reason becomes another. The reasons are those of the status, and so bounded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use larder_api::{CacheStatus, ImageCache, names};

/// For one event; it is news, and nothing hangs on it.
const TELL: Duration = Duration::from_secs(2);
/// Bytes of an event's note, as the API server takes them.
const MAX_NOTE: usize = 1024;
/// Caches whose last word is remembered; beyond it, all are forgotten, and at worst told again.
const REMEMBERED: usize = 10_000;

/// By a cache's UID: the status and reason that were told last.
type Told = std::collections::HashMap<String, (Option<String>, Option<String>)>;

/// Tells of caches.
#[derive(Clone)]
pub(super) struct Events {
    recorder: Recorder,
    told: Arc<Mutex<Told>>,
}

impl Events {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: names::CONTROLLER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), told: Arc::default() }
    }

    /// Tells what a cache's status has become, unless that was told.
    pub(super) async fn tell(&self, cache: &ImageCache) {
        let status = cache.status.clone().unwrap_or_default();
        if !self.is_news(cache, (status.status.clone(), status.reason.clone())) {
            return;
        }
        let failed = [CacheStatus::Failed, CacheStatus::Unknown, CacheStatus::Aborted];
        let is_bad = failed.iter().any(|bad| status.status.as_deref() == Some(bad.name()));
        let ready = status.conditions.first().map(|condition| condition.message.clone());
        let words = [status.message, ready].into_iter().flatten().filter(|words| !words.is_empty());
        let event = Event {
            type_: if is_bad { EventType::Warning } else { EventType::Normal },
            reason: status.reason.unwrap_or_default(),
            note: Some(cut(words.collect::<Vec<_>>().join(": "))),
            action: status.status.unwrap_or_default(),
            secondary: None,
        };
        let of = cache.object_ref(&());
        let told = self.recorder.publish(&event, &of);
        match tokio::time::timeout(TELL, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(cache = cache.name_any(), %error, "an event was not taken"),
            Err(_) => tracing::debug!(cache = cache.name_any(), "an event was not taken in time"),
        }
    }

    fn is_news(&self, cache: &ImageCache, word: (Option<String>, Option<String>)) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > REMEMBERED {
            told.clear();
        }
        let last = told.insert(cache.uid().unwrap_or_default(), word.clone());
        last != Some(word)
    }
}

fn cut(mut note: String) -> String {
    let mut end = note.len().min(MAX_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.truncate(end);
    note
}
