//! Keeping to a rate.

use std::time::Duration;

/// How soon a stop is noticed while waiting.
const NAP: Duration = Duration::from_millis(100);

/// Bytes a second.
pub(super) fn rate(read: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(read) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// How long after the beginning so many bytes may have been read.
fn due(read: u64, rate: u64) -> Duration {
    let milliseconds = u128::from(read) * 1000 / u128::from(rate.max(1));
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// How long to sleep before looking again whether the next read may begin; none when it may.
pub(super) fn nap(rate: Option<u64>, read: u64, elapsed: Duration) -> Option<Duration> {
    let left = due(read, rate?).checked_sub(elapsed)?;
    (!left.is_zero()).then(|| left.min(NAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_tells_when_bytes_are_due() {
        assert_eq!(due(50 << 20, 100 << 20), Duration::from_millis(500));
        assert_eq!(due(0, 1), Duration::ZERO);
        assert_eq!(rate(100, Duration::from_millis(500)), 200);
        assert_eq!(rate(0, Duration::ZERO), 0);
    }

    #[test]
    fn a_nap_is_short_and_ends_when_the_next_read_is_due() {
        let second = Duration::from_secs(1);
        assert_eq!(nap(Some(1), 1 << 40, second), Some(NAP));
        assert_eq!(nap(Some(1000), 1050, second), Some(Duration::from_millis(50)));
        assert_eq!(nap(Some(1000), 1000, second), None);
        assert_eq!(nap(None, 1 << 40, second), None);
    }
}
