//! What the agent counts, and how it is: told to Prometheus and to probes. No label names an image, a node or an error.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use larder_api::{ImagePhase, NodeImageSetStatus};

use crate::attempt::Attempt;
use crate::metrics::text::Text;

/// The agent's loop turns at least with every look at the runtime; one that does not is stuck.
const ALIVE: Duration = Duration::from_mins(2);

const PHASES: [(ImagePhase, &str); 7] = [
    (ImagePhase::Pending, "pending"),
    (ImagePhase::Pulling, "pulling"),
    (ImagePhase::Warm, "warm"),
    (ImagePhase::Failed, "failed"),
    (ImagePhase::Removed, "removed"),
    (ImagePhase::Kept, "kept"),
    (ImagePhase::Unknown, "unknown"),
];

/// Shared by the loop, which counts, and the server, which tells.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Counts>);

#[derive(Clone, Debug, Default)]
struct Counts {
    turned: Option<Instant>,
    set_seen: bool,
    runtime_up: bool,
    images: [usize; PHASES.len()],
    attempts: Outcomes,
    attempt_seconds: f64,
    pulled_bytes: u64,
    writes: Outcomes,
    looks: Outcomes,
    removed: u64,
    kept: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    succeeded: u64,
    failed: u64,
}

impl Outcomes {
    fn count(&mut self, succeeded: bool) {
        *(if succeeded { &mut self.succeeded } else { &mut self.failed }) += 1;
    }
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop goes on.
    pub(super) fn turned(&self) {
        self.counts().turned = Some(Instant::now());
    }

    /// Whether there is a set is known.
    pub(super) fn set_seen(&self) {
        self.counts().set_seen = true;
    }

    pub(super) fn runtime(&self, is_up: bool) {
        self.counts().runtime_up = is_up;
    }

    pub(super) fn looked(&self, succeeded: bool) {
        self.counts().looks.count(succeeded);
    }

    pub(super) fn wrote(&self, succeeded: bool) {
        self.counts().writes.count(succeeded);
    }

    pub(super) fn purged(&self, is_removed: bool) {
        let mut counts = self.counts();
        *(if is_removed { &mut counts.removed } else { &mut counts.kept }) += 1;
    }

    pub(super) fn attempted(&self, attempt: &Attempt) {
        let mut counts = self.counts();
        counts.attempts.count(attempt.error.is_none());
        counts.attempt_seconds += attempt.duration.as_secs_f64();
        counts.pulled_bytes = counts.pulled_bytes.saturating_add(attempt.size_bytes);
    }

    /// How the images stand now.
    pub(super) fn images(&self, status: &NodeImageSetStatus) {
        let of = |phase| status.images.iter().filter(|seen| seen.phase == phase).count();
        self.counts().images = PHASES.map(|(phase, _)| of(phase));
    }

    /// Whether the loop turns.
    pub(super) fn is_alive(&self) -> bool {
        self.counts().turned.is_some_and(|turned| turned.elapsed() < ALIVE)
    }

    /// Whether both sides are known: what is wanted, and what the runtime has.
    pub(super) fn is_ready(&self) -> bool {
        let counts = self.counts();
        counts.set_seen && counts.runtime_up
    }

    /// All metrics.
    pub(super) fn text(&self) -> String {
        let counts = self.counts().clone();
        let mut text = Text::default();
        text.head("larder_agent_images", "gauge", "Images of this node's set by where they stand.");
        for ((_, phase), count) in PHASES.iter().zip(counts.images) {
            text.labelled("larder_agent_images", "phase", phase, count);
        }
        let outcomes = [
            ("larder_agent_pull_attempts_total", "Attempts at pulling an image.", counts.attempts),
            ("larder_agent_status_writes_total", "Writes of the set's status.", counts.writes),
            ("larder_agent_runtime_looks_total", "Looks at the images that the runtime has.", counts.looks),
        ];
        for (name, help, Outcomes { succeeded, failed }) in outcomes {
            text.head(name, "counter", help);
            text.labelled(name, "outcome", "failed", failed);
            text.labelled(name, "outcome", "succeeded", succeeded);
        }
        let name = "larder_agent_pull_attempt_seconds_total";
        text.single(name, "counter", "How long attempts took, in all.", counts.attempt_seconds);
        text.single(
            "larder_agent_pulled_bytes_total",
            "counter",
            "Sizes of pulled images.",
            counts.pulled_bytes,
        );
        text.head("larder_agent_purges_total", "counter", "Images that were to leave the node.");
        text.labelled("larder_agent_purges_total", "outcome", "kept", counts.kept);
        text.labelled("larder_agent_purges_total", "outcome", "removed", counts.removed);
        let is_up = u8::from(counts.runtime_up);
        text.single("larder_agent_runtime_up", "gauge", "Whether the runtime answers.", is_up);
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_and_metrics_say_how_the_agent_is() {
        let metrics = Metrics::default();
        assert!(!metrics.is_alive() && !metrics.is_ready());
        metrics.turned();
        metrics.set_seen();
        metrics.runtime(true);
        metrics.wrote(true);
        assert!(metrics.is_alive() && metrics.is_ready());
        let text = metrics.text();
        for line in [
            "larder_agent_images{phase=\"warm\"} 0",
            "larder_agent_status_writes_total{outcome=\"succeeded\"} 1",
            "larder_agent_runtime_up 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
