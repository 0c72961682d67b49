//! Repeats one remote call until it is done, can never be, or its time is over. The waits are pure; `persist` alone sleeps.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long a call is repeated, and at what pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For everything, waits included.
    pub(crate) limit: Duration,
    /// For one call.
    pub(crate) call: Duration,
    /// The wait after the first failure; each further one doubles it.
    pub(crate) first_wait: Duration,
    /// The longest wait.
    pub(crate) longest_wait: Duration,
}

/// Why one call failed.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// The next one may succeed.
    Passing(E),
    /// None ever will.
    Lasting(E),
}

/// Why no call succeeded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GaveUp<E> {
    /// None ever will.
    Lasting(E),
    /// The time is over; with the last answer, if there was one.
    TimedOut {
        /// How many calls were begun.
        calls: u32,
        /// What the last of them said that ended before its own time did.
        last: Option<E>,
    },
}

impl Patience {
    /// The wait after the `failures`th failure: half of it is certain, half by chance, so that nodes spread.
    fn wait(&self, failures: u32, chance: f64) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.longest_wait).mul_f64(0.5 + chance / 2.0)
    }
}

/// Calls until an answer is good or lasting, or `patience` is over.
pub(crate) async fn persist<T, E, C>(patience: Patience, mut call: impl FnMut() -> C) -> Result<T, GaveUp<E>>
where
    C: Future<Output = Result<T, Failure<E>>>,
    E: std::fmt::Debug,
{
    let deadline = Instant::now() + patience.limit;
    let (mut calls, mut last) = (0, None);
    while Instant::now() < deadline {
        calls += 1;
        match timeout_at(deadline.min(Instant::now() + patience.call), call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Failure::Lasting(error))) => return Err(GaveUp::Lasting(error)),
            Ok(Err(Failure::Passing(error))) => last = Some(error),
            Err(_) => tracing::debug!(limit = ?patience.call, "a call took too long"),
        }
        let wait = patience.wait(calls, fastrand::f64());
        if Instant::now() + wait >= deadline {
            break;
        }
        tracing::debug!(?last, ?wait, calls, "repeating a call");
        sleep(wait).await;
    }
    Err(GaveUp::TimedOut { calls, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        limit: Duration::from_secs(20),
        call: Duration::from_secs(4),
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(4),
    };

    #[test]
    fn waits_double_up_to_the_longest_and_half_of_each_is_chance() {
        let waits = |chance| [1, 2, 3, 4, u32::MAX].map(|failures| PATIENCE.wait(failures, chance));
        assert_eq!(waits(1.0), [1, 2, 4, 4, 4].map(Duration::from_secs));
        assert_eq!(waits(0.0), [500, 1000, 2000, 2000, 2000].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_repeated_and_a_lasting_one_is_not() {
        let mut calls = 0;
        let answer = persist(PATIENCE, || {
            calls += 1;
            let answer = if calls < 3 { Err(Failure::Passing("busy")) } else { Ok(calls) };
            async move { answer }
        });
        assert_eq!(answer.await, Ok(3));
        let refused = persist::<(), _, _>(PATIENCE, || async { Err(Failure::Lasting("no")) });
        assert_eq!(refused.await, Err(GaveUp::Lasting("no")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_whether_calls_fail_at_once_or_hang() {
        let started = Instant::now();
        let failing = persist::<(), _, _>(PATIENCE, || async { Err(Failure::Passing("busy")) }).await;
        assert!(matches!(failing, Err(GaveUp::TimedOut { calls: 4.., last: Some("busy") })), "{failing:?}");
        assert!(started.elapsed() <= PATIENCE.limit);

        let started = Instant::now();
        let hanging = persist::<(), &str, _>(PATIENCE, std::future::pending).await;
        assert!(matches!(hanging, Err(GaveUp::TimedOut { calls: 2.., last: None })), "{hanging:?}");
        assert!(started.elapsed() <= PATIENCE.limit);
    }
}
