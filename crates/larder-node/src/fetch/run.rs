//! A whole list: what is there is looked at, the rest is pulled until all are there or time is up.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::engine::{Engine, Floor};
use super::list::{ImageList, Wanted};
use super::presence::{confirms, is_moving};
use super::pull::Job;
use super::pulls::{Outcome, Pulls};
use super::report::{Event, FetchReport, Present};
use super::schedule::start_after;
use super::{FetchError, FetchOptions, Registries};

/// Looks at images at the same time; each takes the runtime well under a millisecond.
const CHECKS: usize = 8;

/// A list and how it is fetched.
pub(super) struct Run<'a, R> {
    pub(super) engine: Engine<'a, R>,
    pub(super) options: &'a FetchOptions,
    pub(super) deadline: Instant,
}

impl<R: Registries> Run<'_, R> {
    pub(super) async fn fetch(mut self, list: ImageList) -> Result<FetchReport, FetchError> {
        let ImageList { wanted, bad } = list;
        let mut report = FetchReport::default();
        for line in bad {
            let outcome = Err(super::Missing::BadLine(line.error));
            self.tell(&line.text, &outcome);
            report.images.push((line.text, outcome));
        }
        let checked = self.check(wanted).await;
        let missing = checked.iter().filter(|(_, present)| present.is_none()).count();
        self.engine.reporter.event(Event::Checked { present: checked.len() - missing, to_pull: missing });
        let mut jobs = Vec::with_capacity(missing);
        for (wanted, present) in checked {
            match present {
                Some(present) => {
                    let outcome = Ok(present);
                    self.tell(&wanted.name, &outcome);
                    report.images.push((wanted.name, outcome));
                }
                None => jobs.push(Job::new(wanted)),
            }
        }
        if !jobs.is_empty() {
            let FetchOptions { min_free, insist_on_floor: insist, .. } = *self.options;
            self.engine.keep(Floor { min_free, insist }, self.deadline).await?;
            self.deadline += self.wait_for_start().await;
            report.images.extend(self.pull_all(jobs).await);
        }
        Ok(report)
    }

    fn tell(&self, image: &str, result: &Outcome) {
        self.engine.reporter.event(Event::Finished { image, result });
    }

    /// What the runtime confirms to have already.
    async fn check(&self, wanted: Vec<Wanted>) -> Vec<(Wanted, Option<Present>)> {
        let look = |wanted: Wanted| async move {
            let present = self.present(&wanted).await;
            (wanted, present)
        };
        stream::iter(wanted).map(look).buffered(CHECKS).collect().await
    }

    /// A runtime that does not say so has it not: the pull will tell what is wrong.
    async fn present(&self, wanted: &Wanted) -> Option<Present> {
        if self.options.always || is_moving(wanted) {
            return None;
        }
        match timeout_at(self.deadline, self.engine.cri.seen(&wanted.name)).await {
            Ok(Ok(Some(seen))) if confirms(&seen, wanted) => Some(Present::Already { size: seen.size }),
            Ok(Ok(_)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::warn!(image = wanted.name, %error, "the runtime does not say whether it has an image");
                None
            }
        }
    }

    /// Waits for this node's moment; how long that took is not held against it.
    async fn wait_for_start(&self) -> Duration {
        let delay = start_after(&self.options.node, self.options.start_spread);
        if !delay.is_zero() {
            self.engine.reporter.event(Event::Waiting(delay));
            sleep(delay).await;
        }
        delay
    }

    async fn pull_all(&self, jobs: Vec<Job>) -> Vec<(String, Outcome)> {
        let mut outcomes: Vec<Option<(String, Outcome)>> = jobs.iter().map(|_| None).collect();
        let mut pulls = Pulls::new(&self.engine, self.options.max_parallel, self.deadline);
        let now = Instant::now();
        for job in jobs {
            pulls.add(job, now);
        }
        let mut watching = pin!(self.engine.watching());
        loop {
            tokio::select! {
                ended = pulls.next() => {
                    let Some((number, wanted, outcome)) = ended else { break };
                    outcomes[number] = Some((wanted.name, outcome));
                }
                () = &mut watching => {}
            }
        }
        for (number, wanted, outcome) in pulls.out_of_time() {
            outcomes[number] = Some((wanted.name, outcome));
        }
        outcomes.into_iter().flatten().collect()
    }
}
