//! When: how long an attempt may take, how long is waited after it, when a node of a fleet begins, what is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use larder_core::Digest;
use tokio::time::Instant;

/// The limits of attempts and pauses; each doubles from its initial value up to its largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What the first attempt may take.
    pub initial_attempt: Duration,
    /// What any attempt may take.
    pub max_attempt: Duration,
    /// The pause after the first attempt.
    pub initial_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            initial_attempt: Duration::from_secs(30),
            max_attempt: Duration::from_mins(5),
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_mins(10),
        }
    }
}

impl Limits {
    /// What attempt `n`, counted from 1, may take.
    pub(super) fn attempt(&self, n: u32) -> Duration {
        doubled(self.initial_attempt, n, self.max_attempt)
    }

    /// The pause after attempt `n`; `random`, of 0 to 1, takes up to a half off, so that nodes which failed together do not
    /// come back together.
    pub(crate) fn delay(&self, n: u32, random: f64) -> Duration {
        doubled(self.initial_delay, n, self.max_delay).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }
}

fn doubled(initial: Duration, n: u32, max: Duration) -> Duration {
    let factor = 2_u32.checked_pow(n.saturating_sub(1)).unwrap_or(u32::MAX);
    initial.saturating_mul(factor).min(max)
}

/// When, within `spread`, the node called `node` begins: always at the same moment, and a fleet's nodes evenly.
pub(crate) fn start_after(node: &str, spread: Duration) -> Duration {
    let hash = Digest::of(node.as_bytes());
    let number = u32::from_str_radix(&hash.hex()[..8], 16).unwrap_or_default();
    spread.mul_f64(f64::from(number) / f64::from(u32::MAX))
}

/// Jobs by the moment that they are due, and by number among those of one moment.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Queue {
    pub(super) fn push(&mut self, due: Instant, job: usize) {
        self.due.push(Reverse((due, job)));
    }

    /// The first job that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<usize> {
        self.next().is_some_and(|due| due <= now).then(|| self.due.pop())?.map(|Reverse((_, job))| job)
    }

    /// When the next job is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn attempts_and_pauses_double_up_to_their_limits() {
        let limits = Limits::default();
        let attempts: Vec<_> = (1..=6).map(|n| limits.attempt(n).as_secs()).collect();
        assert_eq!(attempts, [30, 60, 120, 240, 300, 300]);
        let longest: Vec<_> = [1, 2, 5, 10, 11, 40, u32::MAX].map(|n| limits.delay(n, 0.0).as_secs()).into();
        assert_eq!(longest, [1, 2, 16, 512, 600, 600, 600]);
        for random in [1.0, 9.0] {
            assert_eq!(limits.delay(11, random).as_secs(), 300, "half of it is left at least");
        }
    }

    #[test]
    fn a_fleet_begins_evenly_and_each_node_at_its_own_moment() {
        let spread = SECOND * 100;
        let starts: Vec<_> = (0..1000).map(|n| start_after(&format!("node-{n}"), spread)).collect();
        assert_eq!(start_after("node-7", spread), starts[7]);
        assert!(starts.iter().all(|start| *start <= spread));
        for tenth in 0..10 {
            let count = starts.iter().filter(|start| start.as_secs() / 10 == tenth).count();
            assert!((60..=140).contains(&count), "{count} of 1000 in tenth {tenth}");
        }
        assert_eq!(start_after("x", Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn jobs_come_out_when_they_are_due_in_the_order_of_the_list() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for (due, job) in [(now + SECOND, 9), (now, 2), (now, 1), (now, 3)] {
            queue.push(due, job);
        }
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(popped, [1, 2, 3]);
        assert_eq!((queue.pop(now), queue.next()), (None, Some(now + SECOND)));
        assert_eq!(queue.pop(now + SECOND), Some(9));
    }
}
