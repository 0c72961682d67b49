//! The time of one pass, in whole seconds as objects keep it, and when the next one would say something else.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A moment, and the first later one that a decision hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Timestamp,
    next: Option<Timestamp>,
}

impl Clock {
    /// At `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: whole_seconds(now, RoundMode::Floor), next: None }
    }

    /// What objects say of something that happens now.
    pub fn now(&self) -> Time {
        Time(self.now)
    }

    /// The next full second, so that nothing that was dated before this moment can be as late.
    pub(crate) fn after_now(&self) -> Time {
        Time(self.now.saturating_add(Duration::from_secs(1)).unwrap_or(self.now))
    }

    /// Whether `length` after `since` is over; if not, the end of it is a moment to look again.
    pub(crate) fn passed(&mut self, since: &Time, length: Duration) -> bool {
        let end = since.0.saturating_add(length).unwrap_or(Timestamp::MAX);
        if end <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(end, |next| next.min(end)));
        false
    }

    /// When to look again though nothing was changed.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }
}

fn whole_seconds(time: Timestamp, mode: RoundMode) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(mode)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_moment_is_the_first_of_those_that_are_to_come() {
        let mut clock = Clock::at("2026-01-01T00:00:10.9Z".parse().unwrap());
        assert_eq!(clock.now().0.to_string(), "2026-01-01T00:00:10Z");
        assert_eq!(clock.after_now().0.to_string(), "2026-01-01T00:00:11Z");
        let start = Time("2026-01-01T00:00:00Z".parse().unwrap());
        assert!(clock.passed(&start, Duration::from_secs(10)));
        assert_eq!(clock.next(), None);
        assert!(!clock.passed(&start, Duration::from_secs(30)));
        assert!(!clock.passed(&start, Duration::from_secs(20)));
        assert!(!clock.passed(&start, Duration::MAX));
        assert_eq!(clock.next().unwrap().to_string(), "2026-01-01T00:00:20Z");
    }
}
