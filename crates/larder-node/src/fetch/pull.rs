//! One image: a round through its credentials, and each attempt with one of them.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::candidates::Candidates;
use super::engine::Engine;
use super::list::Wanted;
use super::report::{Event, Missing, Present};
use super::verdict::{Verdict, judge};
use super::{Offer, Registries, report};
use crate::attempt::Attempt;
use crate::cri::Auth;

/// What a credential has before the next one is tried beside it: a registry that denies does so at once, and one that lets a
/// bad credential hang must not keep a good one waiting.
const HEAD_START: Duration = Duration::from_secs(3);

/// The shortest-lived tokens of registries live so long, and some.
const CREDENTIALS_LIVE: Duration = Duration::from_mins(10);

/// An image that is to be pulled, and what is known from earlier rounds.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) wanted: Wanted,
    pub(super) rounds: u32,
    /// What the last attempt that failed said.
    pub(super) last: String,
    credentials: Vec<Option<Auth>>,
    candidates: Candidates,
    registry_size: Option<u64>,
    /// What each attempt may take, where it is not for the schedule to say.
    limit: Option<Duration>,
    asked: Option<Instant>,
}

/// How a round ended.
#[derive(Debug)]
pub(super) enum RoundEnd {
    /// The image's story is over.
    Over(Result<Present, Missing>),
    /// It may work later.
    Again,
}

struct Failure {
    verdict: Verdict,
    text: String,
}

impl Job {
    pub(crate) fn new(wanted: Wanted) -> Self {
        let (last, credentials, candidates) = ("not begun".to_owned(), Vec::new(), Candidates::new());
        let (registry_size, limit, asked) = (None, None, None);
        Self { wanted, rounds: 0, last, credentials, candidates, registry_size, limit, asked }
    }

    /// The same, with a limit of its own for each attempt.
    pub(crate) fn with_limit(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// Whether credentials are to be asked for; those that were had long ago may have ended.
    fn wants_credentials(&mut self, now: Instant) -> bool {
        if self.asked.is_some_and(|asked| now.duration_since(asked) > CREDENTIALS_LIVE) {
            (self.credentials, self.candidates) = (Vec::new(), Candidates::new());
        }
        self.candidates.may_grow()
    }

    /// Takes what is offered beside what there is; where that is nothing, the image is pulled without.
    fn take(&mut self, Offer { credentials, more_to_come }: Offer) {
        for credential in credentials {
            if !self.credentials.contains(&credential) {
                self.credentials.push(credential);
            }
        }
        if self.credentials.is_empty() {
            self.credentials.push(None);
        }
        self.candidates.grow(self.credentials.len(), more_to_come);
    }

    pub(super) fn out_of_time(&mut self) -> Missing {
        Missing::OutOfTime { attempts: self.rounds, last: std::mem::take(&mut self.last) }
    }
}

impl<R: Registries> Engine<'_, R> {
    /// One round: every credential that is still open is tried until one works.
    pub(super) async fn round(&self, job: &mut Job, deadline: Instant) -> RoundEnd {
        let Ok(entered) = timeout_at(deadline, self.prepare(job)).await else { return RoundEnd::Again };
        let _reservation = match entered {
            Ok(reservation) => reservation,
            Err(no_room) => return RoundEnd::Over(Err(no_room.into())),
        };
        if job.candidates.is_hopeless() {
            return RoundEnd::Over(Err(Missing::Permanent(std::mem::take(&mut job.last))));
        }
        if job.candidates.round().is_empty() {
            return RoundEnd::Again;
        }
        job.rounds += 1;
        self.reporter.event(Event::Pulling { image: &job.wanted.name, attempt: job.rounds });
        let watched = job.wanted.clone();
        let _watched = self.watch.begin(&watched);
        self.race(job, deadline).await
    }

    /// What is asked of others before a pull: credentials, size and room.
    async fn prepare(&self, job: &mut Job) -> Result<super::gate::Reservation<'_>, super::NoRoom> {
        let reference = &job.wanted.reference.clone();
        if job.wants_credentials(Instant::now()) {
            job.asked = Some(Instant::now());
            let offer = self.registries.credentials(reference).await;
            job.take(offer);
        }
        if job.registry_size.is_none() && self.gate.is_tight() {
            job.registry_size = self.registries.size(reference).await;
        }
        self.gate.enter(job.registry_size).await
    }

    async fn race(&self, job: &mut Job, deadline: Instant) -> RoundEnd {
        let limit = job.limit.unwrap_or_else(|| self.limits.attempt(job.rounds));
        let end = deadline.min(Instant::now() + limit);
        let Job { wanted, rounds, last, credentials, candidates, .. } = job;
        let begin = |place: usize| {
            let attempt = self.attempt(wanted, credentials[place].as_ref(), *rounds, end);
            async move { (place, attempt.await) }
        };
        let mut waiting = candidates.round().into_iter();
        let mut running: FuturesUnordered<_> = waiting.next().into_iter().map(&begin).collect();
        loop {
            tokio::select! {
                ended = running.next() => match ended {
                    None => return RoundEnd::Again,
                    Some((_, Ok(present))) => return RoundEnd::Over(Ok(present)),
                    Some((place, Err(Failure { verdict, text }))) => {
                        candidates.failed(place, verdict);
                        *last = text;
                        if candidates.is_hopeless() {
                            return RoundEnd::Over(Err(Missing::Permanent(std::mem::take(last))));
                        }
                        running.extend(waiting.next().map(&begin));
                    }
                },
                () = sleep(HEAD_START), if waiting.len() > 0 => running.extend(waiting.next().map(&begin)),
            }
        }
    }

    /// Pulls with one credential and no longer than `end`; told to metrics, well or not.
    async fn attempt(
        &self,
        wanted: &Wanted,
        auth: Option<&Auth>,
        attempts: u32,
        end: Instant,
    ) -> Result<Present, Failure> {
        let (started_at, started) = (SystemTime::now(), Instant::now());
        let result = match timeout_at(end, self.pull(wanted, auth)).await {
            Ok(result) => result,
            Err(_) => Err(Failure { verdict: Verdict::Transient, text: too_long(started) }),
        };
        let attempt = Attempt {
            id: Uuid::new_v4(),
            started_at,
            image: wanted.name.clone(),
            error: result.as_ref().err().map(|failure| failure.text.clone()),
            duration: started.elapsed(),
            size_bytes: *result.as_ref().unwrap_or(&0),
        };
        self.reporter.event(Event::Attempted(&attempt));
        result.map(|size| report::Present::Pulled { size, attempts, took: attempt.duration })
    }

    /// The image's size, once the runtime confirms that it has it.
    async fn pull(&self, wanted: &Wanted, auth: Option<&Auth>) -> Result<u64, Failure> {
        let transient = |text| Failure { verdict: Verdict::Transient, text };
        if let Err(error) = self.cri.pull(&wanted.name, auth).await {
            return Err(Failure { verdict: judge(self.family, &error, wanted), text: error.to_string() });
        }
        match self.cri.seen(&wanted.name).await {
            Ok(Some(image)) => Ok(image.size),
            Ok(None) => Err(transient("the runtime pulled it, and then did not have it".to_owned())),
            Err(error) => Err(transient(error.to_string())),
        }
    }
}

fn too_long(started: Instant) -> String {
    format!("the pull was ended after {:.1} s, which is its limit", started.elapsed().as_secs_f64())
}
