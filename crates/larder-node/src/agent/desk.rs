//! The side of the API server: takes in the set, knows what is wanted and what is seen, and writes the status when it is time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use larder_api::{NodeImageSet, NodeImageSetStatus};
use tokio::time::{Instant, sleep_until};

use super::AgentOptions;
use super::decide::Action;
use super::ear::News;
use super::metrics::Metrics;
use super::publish::Publication;
use super::purge::Leaving;
use super::record::{Now, Purged};
use super::set::Set;
use super::spec::Spec;
use super::state::{Look, State};
use crate::fetch::Outcome;

/// A runtime that restarts is back by then; only then the status says that it is away.
const AWAY: Duration = Duration::from_secs(30);

type Written = Result<NodeImageSetStatus, String>;

/// What is wanted and what is known, and the way to tell it.
pub(super) struct Desk {
    pub(super) spec: Spec,
    pub(super) state: State,
    /// What is wanted changed since somebody asked.
    pub(super) is_new: bool,
    set: Set,
    /// None where there is no set.
    publication: Option<Publication>,
    writing: Option<LocalBoxFuture<'static, Written>>,
    away: Option<(Instant, String)>,
    verify_every: Duration,
    low: u8,
    metrics: Arc<Metrics>,
}

fn now() -> Now {
    Now { time: Timestamp::now(), at: Instant::now(), chance: fastrand::f64() }
}

impl Desk {
    pub(super) fn new(client: kube::Client, options: &AgentOptions, metrics: Arc<Metrics>) -> Self {
        Self {
            spec: Spec::default(),
            state: State::default(),
            is_new: false,
            set: Set::of(client, &options.node),
            publication: None,
            writing: None,
            away: None,
            verify_every: options.verify_every,
            low: options.low_threshold,
            metrics,
        }
    }

    /// Waits for one thing: the set changed, a write ended, or a write is due. Dropping the future loses nothing.
    pub(super) async fn turn(&mut self) {
        self.metrics.turned();
        let due = self.due();
        let writing = async {
            match &mut self.writing {
                Some(writing) => writing.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            written = writing => {
                self.writing = None;
                self.wrote(written);
            }
            set = self.set.next() => self.take(set),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.write(),
        }
    }

    /// What is to be done now.
    pub(super) fn decide(&mut self) -> Vec<Action> {
        let publication = &self.publication;
        let announces =
            |image: &str| publication.as_ref().is_some_and(|publication| publication.announces(image));
        self.state.decide(&self.spec, announces, now())
    }

    /// The runtime was looked at.
    pub(super) fn looked(&mut self, look: &Look) {
        self.away = None;
        self.metrics.looked(true);
        self.metrics.runtime(true);
        self.state.look(&self.spec, look, self.low, now());
    }

    /// The runtime does not answer, and says why.
    pub(super) fn runtime_is_away(&mut self, why: String) {
        self.metrics.looked(false);
        self.metrics.runtime(false);
        if let Some((_, last)) = &mut self.away {
            *last = why;
        } else {
            tracing::warn!(error = why, "the runtime does not answer");
            self.away = Some((Instant::now(), why));
        }
    }

    /// For how long the runtime has not answered.
    pub(super) fn away_for(&self) -> Duration {
        self.away.as_ref().map(|(since, _)| since.elapsed()).unwrap_or_default()
    }

    /// Pulls go on, or do not.
    pub(super) fn hear(&mut self, image: &str, news: News, secret: Option<String>) {
        let News { begun, progress, failed } = news;
        if begun {
            self.state.begun(image);
        }
        if let Some((done, total)) = progress {
            self.state.progressed(image, done, total);
        }
        if let Some(why) = failed {
            self.state.failed(image, &why, secret);
        }
    }

    /// A pull is over.
    pub(super) fn pulled(&mut self, image: &str, outcome: Outcome, secret: Option<String>) {
        self.state.pulled(&self.spec, image, outcome, secret, now());
    }

    /// An image left, or stays.
    pub(super) fn purged(&mut self, leaving: &Leaving, outcome: Purged) {
        self.metrics.purged(outcome == Purged::Removed);
        self.state.purged(&leaving.image, leaving.token.clone(), outcome, now());
    }

    fn take(&mut self, set: Option<NodeImageSet>) {
        self.metrics.set_seen();
        let Some(set) = set else {
            tracing::info!("there is no set for this node");
            (self.spec, self.publication) = (Spec::default(), None);
            return;
        };
        let spec = Spec::of(&set);
        if self.publication.is_none() || spec.uid != self.spec.uid {
            self.state.recover(set.status.as_ref().unwrap_or(&NodeImageSetStatus::default()));
            self.publication = Some(Publication::of(set.status, fastrand::f64()));
        }
        if (&spec.uid, spec.generation) != (&self.spec.uid, self.spec.generation) {
            tracing::info!(generation = spec.generation, images = spec.entries.len(), "the set changed");
            (self.spec, self.is_new) = (spec, true);
        }
    }

    /// The status as it is to be; none where there is nothing to say yet, or it is for others to say.
    fn status(&self) -> Option<NodeImageSetStatus> {
        let before = self.publication.as_ref()?.written.as_ref();
        let is_theirs = self.spec.entries.is_empty() && self.spec.has_others;
        let is_away = self.away_for() > AWAY;
        let is_known = |image| {
            self.state.records.get(image).is_some_and(|record| record.looked || record.earlier.is_none())
        };
        if is_theirs || !(is_away || self.spec.entries.keys().all(is_known)) {
            return None;
        }
        let runtime = self.away.as_ref().filter(|_| is_away).map(|(_, why)| why.as_str());
        Some(self.state.status(&self.spec, before, runtime, Timestamp::now()))
    }

    fn due(&mut self) -> Option<Instant> {
        let status = self.status()?;
        self.metrics.images(&status);
        if self.writing.is_some() {
            return None;
        }
        self.publication.as_mut()?.due(&self.spec, &status, self.verify_every, now())
    }

    fn write(&mut self) {
        if let Some(status) = self.status() {
            self.writing = Some(Box::pin(self.set.write(&self.spec, status)));
        }
    }

    fn wrote(&mut self, written: Written) {
        self.metrics.wrote(written.is_ok());
        let Some(publication) = &mut self.publication else { return };
        match written {
            Ok(status) => publication.wrote(status, now()),
            Err(error) => {
                tracing::warn!(error, "the set's status cannot be written; it is tried again");
                publication.failed(now());
            }
        }
    }
}
