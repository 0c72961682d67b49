//! The side of the runtime, from when it answers until it does not any more: looks at what it has, pulls, removes and pins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::decide::Action;
use super::desk::Desk;
use super::ear::Ear;
use super::purge::leaving;
use super::secrets::{SecretCredentials, SetRegistries};
use super::tasks::{self, Done};
use super::{AgentError, AgentOptions};
use crate::causes::with_causes;
use crate::containerd::Containerd;
use crate::cri::{Cri, Runtime, open};
use crate::fetch::{Engine, Floor, Job, Outcome, Pulls, Wanted, connect, start_after};

/// Between two looks at what the runtime has: a third of what a removed image may take to be pulled again, and little work.
const LOOK: Duration = Duration::from_secs(10);
/// Before a runtime that did not answer is asked again, or a purge that failed is repeated.
const PAUSE: Duration = Duration::from_secs(2);
/// A runtime that restarts is waited for with its connection; one that is away for longer may come back as another.
const LOST: Duration = Duration::from_secs(10);
/// For one try at finding the runtime.
const FIND: Duration = Duration::from_secs(5);
/// No pull of a set is too late.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 30);
/// Pins at a time: each reads all of containerd's records.
const PINS: usize = 4;

/// What pulls need, and what else is asked of a runtime.
struct Node {
    cri: Cri,
    containerd: Option<Containerd>,
    /// The image file system, where it can be seen.
    place: Option<PathBuf>,
}

/// Works with the runtime whenever it is there. Ends only where it must not work at all.
pub(super) async fn work<R: SecretCredentials>(
    mut desk: Desk,
    options: &AgentOptions,
    registries: &SetRegistries<'_, R>,
    ear: &Ear,
) -> Result<(), AgentError> {
    loop {
        let (cri, runtime) = find(&mut desk, &options.socket).await;
        tracing::info!(name = runtime.name, version = runtime.version, "the runtime answers");
        let containerd = if runtime.is_containerd() { connect(&options.socket).await } else { None };
        let family = runtime.family();
        let mut engine =
            Engine::new(cri.clone(), family, containerd.clone(), options.limits, registries, ear);
        let deadline = Instant::now() + FIND;
        let AgentOptions { min_free, insist_on_floor: insist, .. } = *options;
        engine.keep(Floor { min_free, insist }, deadline).await?;
        let place = engine.place(deadline).await.ok();
        let node = Node { cri, containerd, place };
        Session::new(&engine, &node, options, registries).run(&mut desk, &engine, ear).await;
        desk.state.interrupted();
    }
}

async fn find(desk: &mut Desk, socket: &Path) -> (Cri, Runtime) {
    loop {
        match meanwhile(desk, open(socket, FIND)).await {
            Ok(found) => return found,
            Err(error) => desk.runtime_is_away(with_causes(&error)),
        }
        meanwhile(desk, sleep(PAUSE)).await;
    }
}

/// Waits for something else, and attends to the API server all the while.
async fn meanwhile<T>(desk: &mut Desk, other: impl Future<Output = T>) -> T {
    let mut other = pin!(other);
    loop {
        tokio::select! {
            done = &mut other => return done,
            () = desk.turn() => {}
        }
    }
}

/// A runtime that answers, and what it is doing for us.
struct Session<'s, R> {
    node: &'s Node,
    options: &'s AgentOptions,
    registries: &'s SetRegistries<'s, R>,
    pulls: Pulls<'s, SetRegistries<'s, R>>,
    /// Of the images that are pulled, among the pulls.
    numbers: BTreeMap<String, usize>,
    tasks: FuturesUnordered<LocalBoxFuture<'s, Done>>,
    /// None while one is under way.
    next_look: Option<Instant>,
    /// What the look under way tells may be old.
    look_again: bool,
    /// None while one is under way.
    next_purge: Option<Instant>,
    pinning: BTreeSet<String>,
}

impl<'s, R: SecretCredentials> Session<'s, R> {
    fn new(
        engine: &'s Engine<'s, SetRegistries<'s, R>>,
        node: &'s Node,
        options: &'s AgentOptions,
        registries: &'s SetRegistries<'s, R>,
    ) -> Self {
        let now = Instant::now();
        Self {
            node,
            options,
            registries,
            pulls: Pulls::new(engine, options.max_parallel, now + FOREVER),
            numbers: BTreeMap::new(),
            tasks: FuturesUnordered::new(),
            next_look: Some(now),
            look_again: false,
            next_purge: Some(now),
            pinning: BTreeSet::new(),
        }
    }

    /// Ends when the runtime is lost.
    async fn run(mut self, desk: &mut Desk, engine: &Engine<'_, SetRegistries<'_, R>>, ear: &Ear) {
        let mut watching = pin!(engine.watching());
        while desk.away_for() < LOST {
            if std::mem::take(&mut desk.is_new) {
                self.look_soon();
            }
            let actions = desk.decide();
            self.act(desk, actions);
            let next_look = self.next_look;
            tokio::select! {
                () = desk.turn() => {}
                () = ear.wait() => self.hear(desk, ear),
                Some((_, wanted, outcome)) = self.pulls.next() => {
                    self.hear(desk, ear);
                    self.pulled(desk, &wanted, outcome);
                }
                Some(done) = self.tasks.next() => self.done(desk, done),
                () = sleep_until(next_look.unwrap_or_else(Instant::now)), if next_look.is_some() => self.look(),
                () = &mut watching => {}
            }
        }
    }

    fn act(&mut self, desk: &Desk, actions: Vec<Action>) {
        let mut purges = Vec::new();
        for action in actions {
            match action {
                Action::Pull { image, spread } => self.pull(desk, image, spread),
                Action::GiveUp { image } => {
                    if let Some(number) = self.numbers.remove(&image) {
                        self.pulls.give_up(number);
                    }
                }
                Action::Purge { image, token } => purges.push((image, token)),
                Action::Pin { image, pinned } => self.pin(desk, image, pinned),
            }
        }
        self.purge(desk, purges);
    }

    fn pull(&mut self, desk: &Desk, image: String, spread: bool) {
        let Some(entry) = desk.spec.entries.get(&image) else { return };
        let Ok(name) = &entry.name else { return };
        let wanted = name.wanted.clone();
        self.registries.use_for(&wanted.reference, &entry.wanted.pull_secrets);
        let spread = if spread { self.options.start_spread } else { Duration::ZERO };
        let due = Instant::now() + start_after(&self.options.node, spread);
        let number = self.pulls.add(Job::new(wanted).with_limit(entry.limit()), due);
        self.numbers.insert(image, number);
    }

    fn purge(&mut self, desk: &Desk, purges: Vec<(String, String)>) {
        if purges.is_empty() || self.next_purge.is_none_or(|next| Instant::now() < next) {
            return;
        }
        self.next_purge = None;
        let (images, names) = leaving(&desk.spec, &desk.state, purges);
        self.tasks.push(Box::pin(tasks::purge(&self.node.cri, images, names)));
    }

    fn pin(&mut self, desk: &Desk, image: String, pinned: bool) {
        if self.pinning.len() >= PINS || self.pinning.contains(&image) {
            return;
        }
        let Some(Ok(name)) = desk.spec.entries.get(&image).map(|entry| &entry.name) else { return };
        self.pinning.insert(image.clone());
        let (containerd, name) = (self.node.containerd.as_ref(), name.exact.clone());
        self.tasks.push(Box::pin(tasks::keep(containerd, image, name, pinned)));
    }

    fn look(&mut self) {
        self.next_look = None;
        self.tasks.push(Box::pin(tasks::look(&self.node.cri, self.node.place.as_deref())));
    }

    fn look_soon(&mut self) {
        match &mut self.next_look {
            Some(next) => *next = Instant::now(),
            None => self.look_again = true,
        }
    }

    fn hear(&self, desk: &mut Desk, ear: &Ear) {
        for (image, news) in ear.news() {
            let secret = news.failed.as_ref().and_then(|_| self.unreadable(&image));
            desk.hear(&image, news, secret);
        }
    }

    fn unreadable(&self, image: &str) -> Option<String> {
        image.parse().ok().and_then(|reference| self.registries.unreadable(&reference))
    }

    fn pulled(&mut self, desk: &mut Desk, wanted: &Wanted, outcome: Outcome) {
        self.numbers.remove(&wanted.name);
        let secret = self.registries.unreadable(&wanted.reference);
        self.registries.forget(&wanted.reference);
        desk.pulled(&wanted.name, outcome, secret);
        self.look_soon();
    }

    fn done(&mut self, desk: &mut Desk, done: Done) {
        match done {
            Done::Looked(Ok(look)) => {
                desk.looked(&look);
                let pause = if std::mem::take(&mut self.look_again) { Duration::ZERO } else { LOOK };
                self.next_look = Some(Instant::now() + pause);
            }
            Done::Looked(Err(why)) => {
                desk.runtime_is_away(why);
                self.next_look = Some(Instant::now() + PAUSE);
            }
            Done::Purged { purged, failed } => {
                self.next_purge = Some(Instant::now() + if failed { PAUSE } else { Duration::ZERO });
                for (leaving, outcome) in purged {
                    desk.purged(&leaving, outcome);
                }
            }
            Done::Pinned { image, pinned, failure } => {
                self.pinning.remove(&image);
                desk.state.pinned(&image, pinned, failure);
            }
        }
    }
}
