//! When a failed request is repeated, and when no more. The decision is pure; `wait` alone sleeps.

use std::time::Duration;

use super::RegistryError;

/// How often a failed request is repeated, and how long it waits before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests in all, the first one included; a blob that makes progress starts anew.
    pub attempts: u32,
    /// The wait after the first failure; each further one doubles it.
    pub base: Duration,
    /// The longest wait between two requests, unless the registry asks for more.
    pub longest: Duration,
    /// The longest wait that a registry may ask for (`Retry-After`); past it the request fails at once.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        // About 15 s of waiting: longer than a load balancer needs to notice a dead backend, short for a person.
        Self {
            attempts: 6,
            base: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_mins(2),
        }
    }
}

impl RetryPolicy {
    /// The wait after the `failures`th failure: half of it is certain, half by chance, so that clients spread.
    fn delay(&self, failures: u32, chance: f64) -> Duration {
        let doubled = self.base.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.longest).mul_f64(0.5 + chance / 2.0)
    }

    /// How long to wait before the next request; none when there must be none.
    fn next(&self, failures: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        let bearable = asked.is_none_or(|asked| asked <= self.longest_asked);
        let own = self.delay(failures, chance);
        // What was asked for is the least; all clients were told the same, so some chance is added here too.
        (failures < self.attempts && bearable)
            .then(|| asked.map_or(own, |asked| asked + self.base.min(asked).mul_f64(chance)))
    }
}

/// Counts the failures of one piece of work.
pub(super) struct Backoff {
    policy: RetryPolicy,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Forgets what failed: there was progress since.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Sleeps until the next try is due, or gives the error back when there is to be none.
    pub(super) async fn wait(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failures += 1;
        if !error.is_transient() {
            return Err(error);
        }
        match self.policy.next(self.failures, error.retry_after(), fastrand::f64()) {
            Some(delay) => {
                tracing::debug!(%error, ?delay, failures = self.failures, "repeating a request");
                tokio::time::sleep(delay).await;
                Ok(())
            }
            None if self.failures == 1 => Err(error),
            None => Err(RegistryError::GaveUp { attempts: self.failures, source: Box::new(error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn policy() -> RetryPolicy {
        RetryPolicy { attempts: 5, base: seconds(1), longest: seconds(4), longest_asked: seconds(60) }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_half_of_each_is_chance() {
        let waits = |chance| [1, 2, 3, 4].map(|failures| policy().next(failures, None, chance).unwrap());
        assert_eq!(waits(1.0), [1, 2, 4, 4].map(seconds));
        assert_eq!(waits(0.0), [500, 1000, 2000, 2000].map(Duration::from_millis));
        assert_eq!(policy().next(5, None, 1.0), None);
        let endless = RetryPolicy { attempts: u32::MAX, ..policy() };
        assert_eq!(endless.next(4_000_000, None, 1.0), Some(seconds(4)));
    }

    #[test]
    fn what_a_registry_asks_for_is_the_least_wait_unless_it_is_unbearable() {
        assert_eq!(policy().next(1, Some(seconds(30)), 0.0), Some(seconds(30)));
        assert_eq!(policy().next(4, Some(seconds(0)), 1.0), Some(seconds(0)));
        assert_eq!(policy().next(1, Some(seconds(61)), 0.0), None);
        assert_eq!(policy().next(5, Some(seconds(1)), 0.0), None);
    }
}
