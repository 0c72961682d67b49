//! When something may be done: a pass, or a write that failed or is only worth a second's news. Time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::write::Target;

/// Changes within this time are one pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// A pass may take this share of the time at most, as a divisor.
const SHARE: u32 = 4;
/// The wait after a first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Between two statuses of one cache.
pub(super) const STATUS: Duration = Duration::from_secs(1);

/// What is due when.
#[derive(Debug)]
pub(super) struct Pace {
    /// Of the next pass, if there is to be one.
    due: Option<Instant>,
    /// Nothing before: the API server is in trouble, or the last pass was long.
    not_before: Instant,
    troubles: u32,
    held: HashMap<Target, Hold>,
}

#[derive(Debug)]
struct Hold {
    until: Instant,
    failures: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: None, not_before: now, troubles: 0, held: HashMap::new() }
    }

    /// Something changed.
    pub(super) fn stir(&mut self, now: Instant) {
        self.look_at(now + DEBOUNCE);
    }

    /// A pass is due at `time` at the latest.
    pub(super) fn look_at(&mut self, time: Instant) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }

    /// When the next pass is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|due| due.max(self.not_before))
    }

    /// A pass was made, and took so long.
    pub(super) fn passed(&mut self, now: Instant, took: Duration) {
        self.due = None;
        self.not_before = self.not_before.max(now + took * SHARE);
        self.held.retain(|_, hold| hold.until > now || hold.failures > 0);
    }

    /// Whether `target` may be written; if not, a pass is due when it may.
    pub(super) fn may(&mut self, target: &Target, now: Instant) -> bool {
        match self.held.get(target).map(|hold| hold.until) {
            Some(until) if until > now => {
                self.look_at(until);
                false
            }
            _ => true,
        }
    }

    /// `target` was written; it is not to be written again for `rest`.
    pub(super) fn done(&mut self, target: Target, rest: Duration, now: Instant) {
        self.troubles = 0;
        if rest.is_zero() {
            self.held.remove(&target);
        } else {
            self.held.insert(target, Hold { until: now + rest, failures: 0 });
        }
    }

    /// The API server refuses `target`: it is left alone for a while.
    pub(super) fn refused(&mut self, target: Target, now: Instant, chance: f64) {
        let hold = self.held.entry(target).or_insert(Hold { until: now, failures: 0 });
        hold.until = now + wait(hold.failures, chance);
        hold.failures = hold.failures.saturating_add(1);
        let until = hold.until;
        self.look_at(until);
    }

    /// The API server is in trouble: it is left alone for a while.
    pub(super) fn trouble(&mut self, now: Instant, chance: f64) {
        self.not_before = now + wait(self.troubles, chance);
        self.troubles = self.troubles.saturating_add(1);
        self.look_at(self.not_before);
    }
}

/// Half of it is certain, half by chance, so that replicas and objects spread.
fn wait(failures: u32, chance: f64) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT).mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn set(name: &str) -> Target {
        Target::Set(name.to_owned())
    }

    #[test]
    fn changes_are_gathered_into_one_pass() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.due(), None);
        pace.stir(now);
        pace.stir(now + ms(150));
        assert_eq!(pace.due(), Some(now + DEBOUNCE));
        pace.passed(now + ms(300), ms(100));
        assert_eq!(pace.due(), None);
        pace.stir(now + ms(310));
        assert_eq!(pace.due(), Some(now + ms(700)), "a long pass is followed by a longer rest");
    }

    #[test]
    fn what_is_refused_waits_longer_each_time_and_holds_up_nothing_else() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.refused(set("a"), now, 1.0);
            waits.push(pace.held[&set("a")].until - now);
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000].map(ms));
        assert!(!pace.may(&set("a"), now) && pace.may(&set("b"), now));
        assert_eq!(pace.due(), Some(now + ms(250)));
        assert!(pace.may(&set("a"), now + ms(10_000)));
        pace.passed(now + ms(10_001), Duration::ZERO);
        pace.refused(set("a"), now, 0.0);
        assert_eq!(pace.held[&set("a")].until - now, ms(5000), "it is remembered until it is written");
        pace.done(set("a"), Duration::ZERO, now);
        assert!(pace.may(&set("a"), now));
    }

    #[test]
    fn trouble_holds_up_everything_until_a_write_succeeds() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.trouble(now, 1.0);
        pace.trouble(now, 1.0);
        pace.stir(now);
        assert_eq!(pace.due(), Some(now + ms(500)));
        pace.done(set("a"), STATUS, now);
        pace.trouble(now, 1.0);
        assert_eq!(pace.due(), Some(now + ms(250)));
        assert!(!pace.may(&set("a"), now + ms(999)) && pace.may(&set("a"), now + ms(1000)));
    }
}
