//! Attach and detach ended at every step, and containerd restarted in the middle of them: run again, they converge.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use larder_tests::containerd::{Containerd, on_each};
use larder_tests::gate::Gate;
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, busybox};
use larder_tests::larder::{larder, node_arguments};
use larder_tests::node::{
    BakedDisk, KillPoints, State, attach, dangling, expect_run, killed_after, links, node,
};
use larder_tests::registry::Registry;

/// Far more requests than an attach of three layers makes.
const MOST_REQUESTS: usize = 200;
/// Fewer requests than any command makes, and fewer kinds of them.
const FEWEST: usize = 10;
/// At how many moments a copy is killed.
const MOMENTS: u32 = 8;

/// `ours` is baked; `theirs` stands on the same base and is pulled before, so that nothing of it may go.
struct Shelf {
    _registry: Registry,
    disk: BakedDisk,
    ours: String,
    theirs: larder_core::ImageRef,
}

/// Shared by the tests of this process, for nobody changes it.
fn shelf() -> &'static Shelf {
    static SHELF: OnceLock<Shelf> = OnceLock::new();
    SHELF.get_or_init(|| {
        let registry = Registry::start().unwrap();
        let (base, other) = (busybox().unwrap(), busybox().unwrap().entry(Entry::file("other", "")));
        let [base, other] = [base, other].map(|layer| layer.build(Compression::Gzip).unwrap());
        let ours = registry.push(&on(&base, "ours"), "kill/ours:1").unwrap().to_string();
        let theirs = registry.push(&on(&other, "theirs"), "kill/theirs:1").unwrap();
        Shelf { disk: BakedDisk::of(&[&ours]).unwrap(), _registry: registry, ours, theirs }
    })
}

/// An image on `base` that prints `text`.
fn on(base: &Layer, text: &str) -> Image {
    let own = LayerBuilder::default().entry(Entry::file("own", text)).build(Compression::Gzip).unwrap();
    ImageBuilder::default().layers([base, &own]).cmd(&["/bin/busybox", "cat", "/own"]).build()
}

/// Nothing dangles once the garbage is gone.
fn expect_no_dangling(containerd: &Containerd) -> Result<()> {
    containerd.sync_gc()?;
    ensure!(dangling(containerd).is_empty(), "dangling: {:?}", dangling(containerd));
    Ok(())
}

/// Whatever was begun with ours, theirs runs; and ours does, if it is there.
fn expect_whole(containerd: &Containerd, shelf: &Shelf) -> Result<()> {
    expect_no_dangling(containerd)?;
    if containerd.image_status(&shelf.ours)?.is_some() {
        expect_run(containerd, &shelf.ours, "ours")?;
    }
    expect_run(containerd, &shelf.theirs.to_string(), "theirs")
}

/// Kills a command at each of its points, and gives `step` what came of it; the last time it has ended by itself.
fn at_each_point(
    containerd: &Containerd,
    words: &[&str],
    mut prepare: impl FnMut() -> Result<()>,
    mut step: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut points = KillPoints::on(containerd);
    loop {
        prepare()?;
        let killed = points.kill(containerd, words)?;
        step().with_context(|| format!("{words:?}, killed at point {}: {killed}", points.count()))?;
        if !killed {
            ensure!(points.count() >= FEWEST, "only {} requests", points.count());
            return Ok(());
        }
        ensure!(points.count() < MOST_REQUESTS, "it never ended by itself");
    }
}

#[test]
fn an_attach_that_is_killed_at_any_request_leaves_nothing_broken_and_the_next_one_completes_it() {
    let shelf = shelf();
    on_each(|containerd| {
        let _state = State::of(containerd);
        containerd.pull(&shelf.theirs)?;
        let device = shelf.disk.device()?;
        let disk = device.path().to_string_lossy().into_owned();
        let step = || {
            expect_whole(containerd, shelf)?;
            attach(containerd, &device)?.done()?;
            expect_no_dangling(containerd)?;
            expect_run(containerd, &shelf.ours, "ours")?;
            ensure!(links(containerd).len() == 2, "{:?}", links(containerd));
            node(containerd, &["detach"])?.done()?;
            ensure!(links(containerd).is_empty(), "{:?}", links(containerd));
            Ok(())
        };
        at_each_point(containerd, &["attach", "--disk", &disk], || Ok(()), step)?;
        expect_whole(containerd, shelf)
    })
    .unwrap();
}

#[test]
fn a_detach_that_is_killed_at_any_request_leaves_nothing_broken_and_the_next_one_completes_it() {
    let shelf = shelf();
    on_each(|containerd| {
        let state = State::of(containerd);
        containerd.pull(&shelf.theirs)?;
        let device = shelf.disk.device()?;
        let prepare = || attach(containerd, &device)?.done().map(drop);
        let step = || {
            expect_whole(containerd, shelf)?;
            node(containerd, &["detach"])?.done()?;
            ensure!(links(containerd).is_empty() && state.places().is_empty(), "{:?}", links(containerd));
            ensure!(containerd.image_status(&shelf.ours)?.is_none(), "it is still there");
            expect_no_dangling(containerd)
        };
        at_each_point(containerd, &["detach", "--keep-shared"], prepare, step)?;
        expect_whole(containerd, shelf)
    })
    .unwrap();
}

#[test]
fn a_change_of_generation_that_is_killed_at_any_request_leaves_nothing_broken_and_the_next_one_completes_it()
{
    let registry = Registry::start().unwrap();
    let base = busybox().unwrap().build(Compression::Gzip).unwrap();
    let kept = registry.push(&on(&base, "kept"), "kill/kept:1").unwrap().to_string();
    let moved = registry.push(&on(&base, "old"), "kill/moved:1").unwrap().to_string();
    let old = BakedDisk::of(&[&kept, &moved]).unwrap();
    registry.push(&on(&base, "new"), "kill/moved:1").unwrap();
    let new = BakedDisk::of(&[&kept, &moved]).unwrap();
    on_each(|containerd| {
        let _state = State::of(containerd);
        let (old, new) = (old.device()?, new.device()?);
        let disk = new.path().to_string_lossy().into_owned();
        let running = RefCell::new(None);
        let prepare = || {
            attach(containerd, &old)?.done()?;
            running.replace(Some(containerd.start_container(&kept, &["/bin/busybox", "sleep", "600"])?));
            Ok(())
        };
        let step = || {
            expect_no_dangling(containerd)?;
            let running = running.take().context("a running container")?;
            ensure!(running.exec(&["/bin/busybox", "cat", "/own"])?.stdout == "kept", "it reads otherwise");
            let either = containerd.run(&moved, &[])?.stdout;
            ensure!(either == "old" || either == "new", "{either:?}");
            attach(containerd, &new)?.done()?;
            let all = links(containerd);
            let places: BTreeSet<_> = all.iter().map(|(_, target)| target.ancestors().nth(3)).collect();
            ensure!(places.len() == 1, "all layers are on the new disk: {places:?}");
            expect_run(containerd, &kept, "kept")?;
            drop(running);
            node(containerd, &["detach"])?.done()?;
            ensure!(links(containerd).is_empty(), "{:?}", links(containerd));
            Ok(())
        };
        at_each_point(containerd, &["attach", "--disk", &disk], prepare, step)
    })
    .unwrap();
}

#[test]
fn a_copy_of_shared_layers_that_is_killed_at_any_time_is_completed_by_the_next() {
    let registry = Registry::start().unwrap();
    // Large enough to be in the middle of.
    let heavy = (0..400).map(|n| Entry::file(format!("heavy/{n}"), vec![b'x'; 40_000]));
    let base = busybox().unwrap().entry(Entry::dir("heavy")).entries(heavy).build(Compression::Gzip).unwrap();
    let own = LayerBuilder::default().entry(Entry::file("own", "above")).build(Compression::Gzip).unwrap();
    let below = ImageBuilder::default().layer(&base).cmd(&["/bin/busybox", "ls", "/heavy"]).build();
    let above = ImageBuilder::default().layers([&base, &own]).cmd(&["/bin/busybox", "cat", "/own"]).build();
    let below = registry.push(&below, "kill/below:1").unwrap().to_string();
    let above = registry.push(&above, "kill/above:1").unwrap();
    let disk = BakedDisk::of(&[&below]).unwrap();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        let mut whole = Duration::ZERO;
        // The first one is not killed: it tells how long that takes.
        for moment in (0..MOMENTS).rev() {
            let step = || format!("moment {moment} of {MOMENTS}, {whole:?}");
            attach(containerd, &device)?.done().with_context(step)?;
            containerd.pull(&above)?;
            let limit = if whole.is_zero() { Duration::MAX } else { whole * moment / MOMENTS };
            let took = killed_after(containerd, &["detach", "--keep-shared"], limit)?;
            expect_no_dangling(containerd).with_context(step)?;
            expect_run(containerd, &above.to_string(), "above").with_context(step)?;
            node(containerd, &["detach", "--keep-shared"])?.done().with_context(step)?;
            ensure!(links(containerd).is_empty() && state.places().is_empty(), "{}", step());
            let files = containerd.run(&above.to_string(), &["/bin/busybox", "ls", "/heavy"])?.stdout;
            ensure!(files.lines().count() == 400, "{}: {} files", step(), files.lines().count());
            containerd.remove_image(&above.to_string())?;
            containerd.sync_gc()?;
            whole = if whole.is_zero() { took } else { whole };
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_containerd_that_is_restarted_in_the_middle_of_an_attach_is_attached_to_in_the_end() {
    let shelf = shelf();
    on_each(|containerd| {
        let _state = State::of(containerd);
        containerd.pull(&shelf.theirs)?;
        let device = shelf.disk.device()?;
        let disk = device.path().to_string_lossy().into_owned();
        for at in [3, 8, 12, 16, 20] {
            let socket = containerd.socket();
            let arguments = node_arguments(containerd);
            // Restarted while the request waits at the gate, so that its connection is gone when it comes through.
            let waiting = Arc::new(Mutex::new(&mut *containerd));
            std::thread::scope(|scope| -> Result<()> {
                let (asked, ask) = std::sync::mpsc::channel();
                let (answer, answered) = std::sync::mpsc::channel();
                let act = move || {
                    let _ = asked.send(());
                    let _ = answered.recv();
                };
                let gate = Gate::open(&socket, move |number, _| number == at, act)?;
                let mut arguments = arguments;
                arguments[1] = gate.socket().to_string_lossy().into_owned();
                let words = ["attach", "--disk", &disk].map(str::to_owned);
                let running = scope.spawn(move || larder(words.into_iter().chain(arguments)));
                ask.recv().context("the attach came to that request")?;
                waiting.lock().unwrap().restart()?;
                let _ = answer.send(());
                let ran = running.join().unwrap()?;
                ensure!(ran.status == Some(0) || ran.stderr.contains("containerd"), "{ran:?}");
                Ok(())
            })?;
            expect_whole(containerd, shelf)?;
            attach(containerd, &device)?.done()?;
            expect_whole(containerd, shelf)?;
            ensure!(containerd.image_status(&shelf.ours)?.is_some(), "it is not attached");
            node(containerd, &["detach"])?.done()?;
        }
        Ok(())
    })
    .unwrap();
}
