//! All images: what is there is looked at, the rest is pulled, several at a time, until all are there or time is up.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::gate::Gate;
use super::list::{ImageList, Wanted};
use super::presence::{confirms, is_moving};
use super::pull::{Job, RoundEnd};
use super::report::{Event, FetchReport, Missing, Present, Reporter};
use super::schedule::{Queue, start_after};
use super::space::measure;
use super::watch::Watch;
use super::{FetchError, FetchOptions, Registries};
use crate::containerd::Containerd;
use crate::cri::{Cri, Family};

/// Looks at images at the same time; each takes the runtime well under a millisecond.
const CHECKS: usize = 8;

/// What every step needs.
pub(super) struct Engine<'a, R> {
    pub(super) cri: Cri,
    pub(super) family: Family,
    pub(super) options: &'a FetchOptions,
    pub(super) registries: &'a R,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) gate: Gate,
    pub(super) watch: Watch,
}

type Outcome = Result<Present, Missing>;

impl<'a, R: Registries> Engine<'a, R> {
    pub(super) fn new(
        cri: Cri,
        family: Family,
        containerd: Option<Containerd>,
        options: &'a FetchOptions,
        registries: &'a R,
        reporter: &'a dyn Reporter,
    ) -> Self {
        Self {
            cri,
            family,
            options,
            registries,
            reporter,
            gate: Gate::new(None),
            watch: Watch::new(containerd),
        }
    }

    pub(super) async fn run(mut self, list: ImageList, deadline: Instant) -> Result<FetchReport, FetchError> {
        let ImageList { wanted, bad } = list;
        let mut report = FetchReport::default();
        for line in bad {
            let outcome = Err(Missing::BadLine(line.error));
            self.reporter.event(Event::Finished { image: &line.text, result: &outcome });
            report.images.push((line.text, outcome));
        }
        let checked = self.check(wanted, deadline).await;
        let missing = checked.iter().filter(|(_, present)| present.is_none()).count();
        self.reporter.event(Event::Checked { present: checked.len() - missing, to_pull: missing });
        let mut jobs = Vec::with_capacity(missing);
        for (wanted, present) in checked {
            match present {
                Some(present) => report.images.push(self.over(wanted, Ok(present))),
                None => jobs.push(Job::new(wanted)),
            }
        }
        if !jobs.is_empty() {
            self.gate = Gate::new(self.floor(deadline).await?);
            let waited = self.wait_for_start().await;
            report.images.extend(self.pull_all(jobs, deadline + waited).await);
        }
        Ok(report)
    }

    /// What the runtime confirms to have already.
    async fn check(&self, wanted: Vec<Wanted>, deadline: Instant) -> Vec<(Wanted, Option<Present>)> {
        let look = |wanted: Wanted| async move {
            let present = self.present(&wanted, deadline).await;
            (wanted, present)
        };
        stream::iter(wanted).map(look).buffered(CHECKS).collect().await
    }

    /// A runtime that does not say so has it not: the pull will tell what is wrong.
    async fn present(&self, wanted: &Wanted, deadline: Instant) -> Option<Present> {
        if self.options.always || is_moving(wanted) {
            return None;
        }
        match timeout_at(deadline, self.cri.seen(&wanted.name)).await {
            Ok(Ok(Some(seen))) if confirms(&seen, wanted) => Some(Present::Already { size: seen.size }),
            Ok(Ok(_)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::warn!(image = wanted.name, %error, "the runtime does not say whether it has an image");
                None
            }
        }
    }

    /// The directory to watch, where there is a floor to keep and it can be seen.
    async fn floor(&self, deadline: Instant) -> Result<Option<(PathBuf, super::MinFree)>, FetchError> {
        let FetchOptions { min_free, insist_on_floor, .. } = *self.options;
        if min_free.is_nothing() {
            return Ok(None);
        }
        let place = match timeout_at(deadline, self.cri.image_places()).await {
            Ok(Ok(places)) => {
                places.into_iter().next().ok_or("the runtime names no image file system".to_owned())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the runtime does not tell its image file system in time".to_owned()),
        };
        let seen = place.and_then(|place| match measure(place.as_ref()) {
            Ok(_) => Ok(PathBuf::from(place)),
            Err(error) => Err(format!("{place}: {error}")),
        });
        match seen {
            Ok(place) => Ok(Some((place, min_free))),
            Err(reason) if insist_on_floor => Err(FetchError::Floor(reason)),
            Err(reason) => {
                self.reporter.event(Event::NoFloor(&reason));
                Ok(None)
            }
        }
    }

    /// Waits for this node's moment; how long that took is not held against it.
    async fn wait_for_start(&self) -> std::time::Duration {
        let delay = start_after(&self.options.node, self.options.start_spread);
        if !delay.is_zero() {
            self.reporter.event(Event::Waiting(delay));
            sleep(delay).await;
        }
        delay
    }

    async fn pull_all(&self, jobs: Vec<Job>, deadline: Instant) -> Vec<(String, Outcome)> {
        let mut queue = Queue::default();
        (0..jobs.len()).for_each(|place| queue.push(Instant::now(), place));
        let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
        let mut outcomes: Vec<Option<(String, Outcome)>> = jobs.iter().map(|_| None).collect();
        let mut running = FuturesUnordered::new();
        let mut watching = pin!(self.watch.run(self.reporter));
        loop {
            let now = Instant::now();
            while now < deadline
                && running.len() < self.options.max_parallel.get()
                && let Some(place) = queue.pop(now)
            {
                let Some(mut job) = jobs[place].take() else { continue };
                running.push(async move {
                    let end = self.round(&mut job, deadline).await;
                    (place, job, end)
                });
            }
            let next = if running.len() < self.options.max_parallel.get() { queue.next() } else { None };
            if running.is_empty() && (next.is_none() || now >= deadline) {
                break;
            }
            tokio::select! {
                Some((place, job, end)) = running.next() => match self.after(job, end, deadline) {
                    Ok((job, due)) => {
                        jobs[place] = Some(job);
                        queue.push(due, place);
                    }
                    Err(over) => outcomes[place] = Some(over),
                },
                () = sleep_until(next.unwrap_or(deadline).min(deadline)), if next.is_some() && now < deadline => {}
                () = &mut watching => {}
            }
        }
        for place in queue.drain() {
            let Some(mut job) = jobs[place].take() else { continue };
            let missing = job.out_of_time();
            outcomes[place] = Some(self.over(job.wanted, Err(missing)));
        }
        outcomes.into_iter().flatten().collect()
    }

    /// What follows a round: another one at its time, or the end.
    fn after(
        &self,
        mut job: Job,
        end: RoundEnd,
        deadline: Instant,
    ) -> Result<(Job, Instant), (String, Outcome)> {
        let outcome = match end {
            RoundEnd::Over(outcome) => outcome,
            RoundEnd::Again => {
                let delay = self.options.limits.delay(job.rounds, fastrand::f64());
                let due = Instant::now() + delay;
                if due < deadline {
                    let (image, reason) = (job.wanted.name.as_str(), job.last.as_str());
                    self.reporter.event(Event::Retrying { image, reason, delay });
                    return Ok((job, due));
                }
                Err(job.out_of_time())
            }
        };
        Err(self.over(job.wanted, outcome))
    }

    fn over(&self, wanted: Wanted, outcome: Outcome) -> (String, Outcome) {
        self.reporter.event(Event::Finished { image: &wanted.name, result: &outcome });
        (wanted.name, outcome)
    }
}
