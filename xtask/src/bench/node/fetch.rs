//! `larder fetch` beside the least that pulls the same images, in turn; and how much memory it takes for a long list.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use larder_core::ByteSize;
use larder_tests::containerd::{Containerd, Version};
use larder_tests::image::{Compression, Entry, ImageBuilder, LayerBuilder};
use larder_tests::process::{anonymous_memory, until, wait_and_watch_memory};
use larder_tests::registry::Registry;
use larder_tests::workdir::Workdir;
use serde::Serialize;

use super::stock::Stock;
use crate::bench::measure::{Figures, median, middle, program};
use crate::say;

/// Pulls at the same time: what `larder fetch` does unless told otherwise.
const PARALLEL: usize = 3;
/// What `larder fetch` may take more than the bare client, of its wall time.
const MORE: f64 = 1.10;
/// The long list, and what it may take of anonymous memory, bytes.
const LIST: usize = 500;
const LIST_MEMORY: u64 = 32 << 20;
/// What `larder sleep` may take of it.
const SLEEP_MEMORY: u64 = 4 << 20;
/// For `sleep` to come to rest.
const START: std::time::Duration = std::time::Duration::from_secs(10);

/// The same pulls by both, on one containerd: medians, and the median of each round's own ratio.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    containerd: String,
    images: usize,
    parallel: usize,
    fetch: Figures,
    bare: Figures,
    pub(super) to_bare: f64,
}

/// Anonymous memory at its most.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    list_images: usize,
    fetch_bytes: u64,
    sleep_bytes: u64,
}

impl Report {
    pub(super) fn is_slow(&self) -> bool {
        self.to_bare > MORE
    }
}

impl Memory {
    pub(super) fn is_large(&self) -> bool {
        self.fetch_bytes >= LIST_MEMORY || self.sleep_bytes >= SLEEP_MEMORY
    }
}

/// Each on an empty containerd; who is first changes with each round.
pub(super) fn measure(stock: &Stock, binary: &Path, version: Version, runs: usize) -> Result<Report> {
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut name = String::new();
    for round in 1..=runs {
        say(format_args!("containerd {version}, fetch and bare pulls, round {round} of {runs}"));
        let mut pair = [Figures::default(); 2];
        for place in [round % 2, (round + 1) % 2] {
            let containerd = Containerd::start(version)?;
            containerd.version().clone_into(&mut name);
            let argv = if place == 0 { fetch(binary, &containerd) } else { bare_pull(&containerd)? };
            let images = stock.names.iter().map(ToString::to_string);
            pair[place] = program(argv.into_iter().chain(images), Workdir::new()?.path())?;
        }
        let [one, other] = pair;
        ratios.push(one.wall_seconds / other.wall_seconds);
        ours.push(one);
        bare.push(other);
    }
    let (images, parallel, to_bare) = (stock.names.len(), PARALLEL, middle(ratios));
    Ok(Report { containerd: name, images, parallel, fetch: median(&ours), bare: median(&bare), to_bare })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn fetch(binary: &Path, containerd: &Containerd) -> Vec<String> {
    let socket = text(&containerd.socket());
    let words = ["fetch", "--quiet", "--always", "--min-free=0", "--cri-socket", &socket].map(str::to_owned);
    [text(binary)].into_iter().chain(words).collect()
}

fn bare_pull(containerd: &Containerd) -> Result<Vec<String>> {
    let own = text(&std::env::current_exe().context("find this program")?);
    let (socket, parallel) = (text(&containerd.socket()), PARALLEL.to_string());
    let words = ["bench", "bare-pull", "--socket", &socket, "--parallel", &parallel].map(str::to_owned);
    Ok([own].into_iter().chain(words).collect())
}

/// A long list pulled from a real registry by a real containerd, and a `sleep` at rest.
pub(super) fn memory(binary: &Path) -> Result<Memory> {
    say(format_args!("making {LIST} images"));
    let registry = Registry::start()?;
    let layer = LayerBuilder::default().entry(Entry::file("x", "small")).build(Compression::Gzip)?;
    let directory = Workdir::new()?;
    let mut list = String::new();
    for number in 0..LIST {
        // Images of their own, each with its configuration.
        let image = ImageBuilder::default().layer(&layer).env(&[&format!("NUMBER={number}")]).build();
        writeln!(list, "{}", registry.push(&image, &format!("bench/list-{number}:1"))?)?;
    }
    let file = directory.join("images.txt");
    fs::write(&file, list).context("write the list")?;
    let containerd = Containerd::start(Version::V2_1)?;
    let mut command = Command::new(binary);
    command.args(["fetch", "--min-free=0", "--cri-socket"]).arg(containerd.socket());
    command.arg("--image-list-file").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let (status, fetch_bytes) = wait_and_watch_memory(&mut command.spawn().context("start larder fetch")?)?;
    ensure!(status.success(), "larder fetch ended with {status}");
    Ok(Memory { list_images: LIST, fetch_bytes, sleep_bytes: asleep(binary)? })
}

/// At its most until the process does nothing any more.
fn asleep(binary: &Path) -> Result<u64> {
    let mut child = Command::new(binary).arg("sleep").spawn().context("start larder sleep")?;
    let rested = until("larder sleep at rest", START, || {
        let before = anonymous_memory(child.id()).context("it has ended")?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        let after = anonymous_memory(child.id()).context("it has ended")?;
        ensure!(before == after, "its memory still changes");
        Ok(after)
    });
    child.kill()?;
    child.wait()?;
    rested
}

pub(super) fn print(report: &Report) {
    let Report { containerd, images, parallel, fetch, bare, to_bare } = report;
    say(format_args!(
        "containerd {containerd}: {images} images, {parallel} at a time: fetch {:.2} s ({:.3} s CPU, {}), bare pulls {:.2} s \
         ({:.3} s CPU, {}): {to_bare:.3} of their time",
        fetch.wall_seconds,
        fetch.cpu_seconds,
        ByteSize(fetch.peak_memory_bytes),
        bare.wall_seconds,
        bare.cpu_seconds,
        ByteSize(bare.peak_memory_bytes),
    ));
}

pub(super) fn print_memory(memory: &Memory) {
    let Memory { list_images, fetch_bytes, sleep_bytes } = memory;
    say(format_args!(
        "anonymous memory: fetch of {list_images} images {}, sleep {}",
        ByteSize(*fetch_bytes),
        ByteSize(*sleep_bytes)
    ));
}
