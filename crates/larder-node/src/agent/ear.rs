//! Hears how pulls go, and wakes whoever has to know.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::metrics::Metrics;
use crate::fetch::{Event, Reporter};

/// News of one image since the last time that somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Its turn came.
    pub(super) begun: bool,
    /// Bytes so far, and in all.
    pub(super) progress: Option<(u64, u64)>,
    /// An attempt failed, and another one follows.
    pub(super) failed: Option<String>,
}

/// The latest news by image: bounded by the images that are pulled.
#[derive(Debug)]
pub(super) struct Ear {
    news: RefCell<BTreeMap<String, News>>,
    wake: Notify,
    metrics: Arc<Metrics>,
}

impl Ear {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { news: RefCell::default(), wake: Notify::new(), metrics }
    }

    /// Waits until there is something new.
    pub(super) async fn wait(&self) {
        while self.news.borrow().is_empty() {
            self.wake.notified().await;
        }
    }

    /// What is new.
    pub(super) fn news(&self) -> BTreeMap<String, News> {
        self.news.take()
    }

    fn note(&self, image: &str, change: impl FnOnce(&mut News)) {
        change(self.news.borrow_mut().entry(image.to_owned()).or_default());
        self.wake.notify_one();
    }
}

impl Reporter for Ear {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Pulling { image, attempt } => {
                tracing::info!(image, attempt, "pulling");
                self.note(image, |news| news.begun = true);
            }
            Event::Progress { image, done, total } => {
                self.note(image, |news| news.progress = Some((done, total)));
            }
            Event::Retrying { image, reason, delay } => {
                tracing::warn!(image, reason, ?delay, "a pull failed and is tried again");
                self.note(image, |news| news.failed = Some(reason.to_owned()));
            }
            Event::Attempted(attempt) => self.metrics.attempted(attempt),
            Event::Finished { image, result: Ok(_) } => tracing::info!(image, "pulled"),
            Event::Finished { image, result: Err(error) } => tracing::warn!(image, %error, "not pulled"),
            Event::NoFloor(reason) => tracing::warn!(reason, "the disk floor cannot be kept"),
            Event::Runtime { .. } | Event::Checked { .. } | Event::Waiting(_) => {}
        }
    }
}
