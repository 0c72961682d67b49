//! How long it goes on, from how far it came since it was first looked at. Pure.

use std::time::Duration;

/// Where it began, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    at: Duration,
    done: u64,
}

impl Pace {
    /// `now` is on any clock, as long as it is the same one.
    pub(super) fn begin(now: Duration, done: u64) -> Self {
        Self { at: now, done }
    }

    /// None as long as nothing came, or where less is done than at the beginning.
    pub(super) fn left(&self, now: Duration, (done, total): (u64, u64)) -> Option<Duration> {
        let came = done.checked_sub(self.done).filter(|came| *came > 0)?;
        let rest = total.saturating_sub(done);
        let took = now.saturating_sub(self.at).as_millis();
        u64::try_from(took * u128::from(rest) / u128::from(came)).ok().map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_as_much_took_before() {
        let seconds = Duration::from_secs;
        let pace = Pace::begin(seconds(100), 200);
        assert_eq!(pace.left(seconds(110), (300, 600)), Some(seconds(30)));
        assert_eq!(pace.left(seconds(120), (600, 600)), Some(seconds(0)));
        assert_eq!(pace.left(seconds(110), (200, 600)), None);
        assert_eq!(pace.left(seconds(110), (100, 600)), None);
        assert_eq!(pace.left(seconds(90), (300, 600)), Some(seconds(0)));
    }
}
