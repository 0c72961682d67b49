//! The state of the driver between two things that happen: what is known, what is queued, what is being written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use super::events::Events;
use super::pace::{Pace, STATUS};
use super::watch::Seen;
use super::write::{Answer, Failure, Target, Write, in_order};
use crate::metrics::{Metrics, Outcome};
use crate::{Index, Rules, plan};

/// Writes under way at a time: what an API server answers at its usual 5 ms is then more than it takes.
const WRITES: usize = 16;
/// How long nothing at all may be looked at.
const IDLE: Duration = Duration::from_mins(5);

/// A write and what became of it.
pub(super) struct Written {
    target: Target,
    result: Result<Answer, Failure>,
}

/// The driver's state.
pub(super) struct Turn {
    client: Client,
    rules: Rules,
    metrics: Arc<Metrics>,
    events: Events,
    index: Index,
    pace: Pace,
    leads: bool,
    /// At most the writes of one plan.
    queue: VecDeque<Write>,
    running: FuturesUnordered<BoxFuture<'static, Written>>,
}

impl Turn {
    pub(super) fn new(client: Client, rules: Rules, metrics: Arc<Metrics>, identity: &str) -> Self {
        Self {
            events: Events::new(client.clone(), identity),
            client,
            rules,
            metrics,
            index: Index::default(),
            pace: Pace::new(Instant::now()),
            leads: false,
            queue: VecDeque::new(),
            running: FuturesUnordered::new(),
        }
    }

    /// Whether everything was seen once.
    pub(super) fn is_complete(&self) -> bool {
        self.index.is_complete()
    }

    /// This replica leads from now on, or does not.
    pub(super) fn lead(&mut self, leads: bool) {
        tracing::info!(leads, "leadership changed");
        self.leads = leads;
        self.metrics.leads(leads);
        self.pace.stir(Instant::now());
        if !leads {
            self.queue.clear();
        }
    }

    /// Takes what a watch says.
    pub(super) fn see(&mut self, seen: Seen) {
        let changed = match seen {
            Seen::Cache(change) => self.index.cache(*change),
            Seen::Node(change) => self.index.node(*change),
            Seen::Set(change) => self.index.set(*change),
        };
        if changed {
            self.pace.stir(Instant::now());
        }
    }

    /// When the next pass is due: after the writes of the last one, on the leader, once everything is known.
    pub(super) fn due(&self) -> Instant {
        let idle = Instant::now() + IDLE;
        if !self.leads || !self.is_complete() || !self.queue.is_empty() || !self.running.is_empty() {
            return idle;
        }
        self.pace.due().unwrap_or(idle)
    }

    /// Plans, and begins to write.
    pub(super) fn pass(&mut self) {
        if !self.leads || !self.is_complete() || !self.queue.is_empty() || !self.running.is_empty() {
            return;
        }
        let (began, now) = (Instant::now(), Timestamp::now());
        let planned = plan(&self.index, &self.rules, now);
        let took = began.elapsed();
        self.metrics.passed(took, &self.index);
        self.pace.passed(Instant::now(), took);
        if let Some(next) = planned.next {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            self.pace.look_at(Instant::now() + wait);
        }
        let now = Instant::now();
        let pace = &mut self.pace;
        self.queue.extend(in_order(planned).filter(|write| pace.may(&write.target(), now)));
        if !self.queue.is_empty() {
            tracing::debug!(writes = self.queue.len(), ?took, "a pass found something to write");
        }
        self.fill();
    }

    fn fill(&mut self) {
        while self.running.len() < WRITES
            && let Some(write) = self.queue.pop_front()
        {
            let target = write.target();
            let written = write.carry_out(self.client.clone(), self.events.clone());
            self.running.push(Box::pin(async move { Written { target, result: written.await } }));
        }
    }

    /// The next write that ends; none while none is under way.
    pub(super) async fn written(&mut self) -> Option<Written> {
        self.running.next().await
    }

    /// Takes the answer to a write into the index at once: the next pass must not decide on what was before it.
    pub(super) fn note(&mut self, Written { target, result }: Written) {
        let now = Instant::now();
        match result {
            Ok(answer) => {
                self.metrics.wrote(target.kind(), Outcome::Written);
                self.take(answer);
                let rest = if matches!(target, Target::CacheStatus(_)) { STATUS } else { Duration::ZERO };
                self.pace.done(target, rest, now);
            }
            Err(failure) => self.fail(target, &failure, now),
        }
        self.fill();
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Seen(seen) => self.see(seen),
            Answer::Gone => self.pace.stir(Instant::now()),
        }
    }

    fn fail(&mut self, target: Target, failure: &Failure, now: Instant) {
        let (kind, name) = (target.kind(), target.name());
        match failure {
            Failure::Refused(error) => {
                tracing::warn!(kind, name, %error, "the API server refuses a write; it is tried again later");
                self.metrics.wrote(kind, Outcome::Refused);
                self.pace.refused(target, now, fastrand::f64());
            }
            Failure::Trouble(_) | Failure::TimedOut => {
                tracing::warn!(kind, name, error = %failure, "the API server is in trouble; all writes wait");
                self.metrics.wrote(kind, Outcome::Failed);
                self.queue.clear();
                self.pace.trouble(now, fastrand::f64());
            }
        }
    }
}
