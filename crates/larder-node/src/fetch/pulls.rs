//! Images on their way, several at a time: each in rounds, with pauses between them, until it is there or cannot be had. They
//! come and go while others are pulled.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::Registries;
use super::engine::Engine;
use super::list::Wanted;
use super::pull::{Job, RoundEnd};
use super::report::{Event, Missing, Present};
use super::schedule::Queue;

/// What became of an image.
pub(crate) type Outcome = Result<Present, Missing>;

type Round = (usize, Job, RoundEnd);

/// Images on their way. Numbers are given out from 0, and those of one moment are begun in their order.
pub(crate) struct Pulls<'e, R> {
    engine: &'e Engine<'e, R>,
    max_parallel: NonZeroUsize,
    deadline: Instant,
    queue: Queue,
    waiting: BTreeMap<usize, Job>,
    running: FuturesUnordered<Abortable<LocalBoxFuture<'e, Round>>>,
    handles: BTreeMap<usize, AbortHandle>,
    added: usize,
}

impl<'e, R: Registries> Pulls<'e, R> {
    /// None yet. Nothing is pulled after `deadline`.
    pub(crate) fn new(engine: &'e Engine<'e, R>, max_parallel: NonZeroUsize, deadline: Instant) -> Self {
        Self {
            engine,
            max_parallel,
            deadline,
            queue: Queue::default(),
            waiting: BTreeMap::new(),
            running: FuturesUnordered::new(),
            handles: BTreeMap::new(),
            added: 0,
        }
    }

    /// One more, to be begun when it is `due`; returns its number.
    pub(crate) fn add(&mut self, job: Job, due: Instant) -> usize {
        let number = self.added;
        self.added += 1;
        self.waiting.insert(number, job);
        self.queue.push(due, number);
        number
    }

    /// Nothing more is done about it; a pull under way is ended.
    pub(crate) fn give_up(&mut self, number: usize) {
        self.waiting.remove(&number);
        if let Some(handle) = self.handles.remove(&number) {
            handle.abort();
        }
    }

    /// The next one whose story is over; none where nothing is left that can be done in time. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<(usize, Wanted, Outcome)> {
        loop {
            let now = Instant::now();
            self.begin(now);
            let due = if self.has_place() { self.queue.next() } else { None };
            if self.running.is_empty() && (due.is_none() || now >= self.deadline) {
                return None;
            }
            let next = due.unwrap_or(self.deadline).min(self.deadline);
            tokio::select! {
                Some(ended) = self.running.next() => {
                    let Ok((number, job, end)) = ended else { continue };
                    self.handles.remove(&number);
                    if let Some((wanted, outcome)) = self.after(number, job, end) {
                        return Some((number, wanted, outcome));
                    }
                }
                () = sleep_until(next), if due.is_some() && now < self.deadline => {}
            }
        }
    }

    /// What is left when nothing more can be done in time.
    pub(crate) fn out_of_time(&mut self) -> Vec<(usize, Wanted, Outcome)> {
        let left = std::mem::take(&mut self.waiting).into_iter();
        left.map(|(number, mut job)| {
            let missing = Err(job.out_of_time());
            let (wanted, outcome) = self.over(job.wanted, missing);
            (number, wanted, outcome)
        })
        .collect()
    }

    fn has_place(&self) -> bool {
        self.running.len() < self.max_parallel.get()
    }

    fn begin(&mut self, now: Instant) {
        while now < self.deadline
            && self.has_place()
            && let Some(number) = self.queue.pop(now)
        {
            // Those that were given up are still in the queue.
            let Some(mut job) = self.waiting.remove(&number) else { continue };
            let (engine, deadline) = (self.engine, self.deadline);
            let round = async move {
                let end = engine.round(&mut job, deadline).await;
                (number, job, end)
            };
            let (handle, registration) = AbortHandle::new_pair();
            self.handles.insert(number, handle);
            self.running.push(Abortable::new(Box::pin(round), registration));
        }
    }

    /// What follows a round: another one at its time, or the end.
    fn after(&mut self, number: usize, mut job: Job, end: RoundEnd) -> Option<(Wanted, Outcome)> {
        let outcome = match end {
            RoundEnd::Over(outcome) => outcome,
            RoundEnd::Again => {
                let delay = self.engine.limits.delay(job.rounds, fastrand::f64());
                let due = Instant::now() + delay;
                if due < self.deadline {
                    let (image, reason) = (job.wanted.name.as_str(), job.last.as_str());
                    self.engine.reporter.event(Event::Retrying { image, reason, delay });
                    self.waiting.insert(number, job);
                    self.queue.push(due, number);
                    return None;
                }
                Err(job.out_of_time())
            }
        };
        Some(self.over(job.wanted, outcome))
    }

    fn over(&self, wanted: Wanted, outcome: Outcome) -> (Wanted, Outcome) {
        self.engine.reporter.event(Event::Finished { image: &wanted.name, result: &outcome });
        (wanted, outcome)
    }
}
