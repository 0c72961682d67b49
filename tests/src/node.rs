//! A node as an attach sees it: a baked disk on a device, a containerd, and a state directory beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use crate::containerd::{Containerd, Finished, Version};
use crate::gate::{Gate, Kind};
use crate::larder::{Ran, command, larder, node_arguments};
use crate::loopdev::{Access, LoopDevice};

/// A disk that was baked from a registry's images.
#[derive(Debug)]
pub struct BakedDisk {
    directory: TempDir,
}

impl BakedDisk {
    /// Bakes `images`, references with their registry.
    pub fn of(images: &[&str]) -> Result<Self> {
        let baked = Self { directory: tempfile::tempdir()? };
        let output = baked.file().display().to_string();
        let build = ["build", "--quiet", "--plain-http", "-o", &output];
        larder(build.iter().chain(images))?.done()?;
        Ok(baked)
    }

    /// The disk image.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    /// The disk as a read-only block device, as a node has it.
    pub fn device(&self) -> Result<LoopDevice> {
        LoopDevice::attach(&self.file(), Access::ReadOnly)
    }
}

/// The state directory of a containerd's node; what is mounted below it goes at the end, also when a test fails.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
}

impl State {
    /// Of this containerd.
    pub fn of(containerd: &Containerd) -> Self {
        Self { path: containerd.root().with_file_name("larder") }
    }

    /// The disks' places that there are.
    pub fn places(&self) -> Vec<PathBuf> {
        entries(&self.path.join("disks"))
    }

    /// The disks' records that there are.
    pub fn records(&self) -> Vec<PathBuf> {
        entries(&self.path.join("records"))
    }

    /// Takes every disk away from its place, as a reboot does.
    pub fn unmount(&self) {
        for place in self.places() {
            let _ = unmount(&place, UnmountFlags::DETACH);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Runs a command of the binary on this containerd's node.
pub fn node(containerd: &Containerd, words: &[&str]) -> Result<Ran> {
    larder(words.iter().map(|&word| word.to_owned()).chain(node_arguments(containerd)))
}

/// Attaches a disk.
pub fn attach(containerd: &Containerd, device: &LoopDevice) -> Result<Ran> {
    node(containerd, &["attach", "--disk", &device.path().to_string_lossy()])
}

/// Where a command is killed, run after run: just before a request of its to containerd.
#[derive(Clone, Debug)]
pub struct KillPoints {
    every: bool,
    runs: usize,
    kinds: Arc<Mutex<BTreeSet<Kind>>>,
}

impl KillPoints {
    /// Every request on the latest containerd, and one of each kind on the others, to which Larder says the same.
    pub fn on(containerd: &Containerd) -> Self {
        Self { every: containerd.is(Version::V2_1), runs: 0, kinds: Arc::default() }
    }

    /// How many runs were killed.
    pub fn count(&self) -> usize {
        self.runs
    }

    /// Runs the command and kills it at the next point; false where it ended before that, by itself and with success.
    pub fn kill(&mut self, containerd: &Containerd, words: &[&str]) -> Result<bool> {
        let (every, next, kinds) = (self.every, self.runs + 1, Arc::clone(&self.kinds));
        let choose = move |number, kind| {
            let new = locked(&kinds).insert(kind);
            if every { number == next } else { new }
        };
        let child: Arc<Mutex<Option<Child>>> = Arc::default();
        let victim = Arc::clone(&child);
        let gate = Gate::open(&containerd.socket(), choose, move || kill(&victim))?;
        let mut arguments = node_arguments(containerd);
        arguments[1] = gate.socket().to_string_lossy().into_owned();
        *locked(&child) = Some(command()?.args(words).args(arguments).spawn().context("start larder")?);
        loop {
            // Not waited for while the lock is held, for the killer needs it.
            let ended = locked(&child).as_mut().map(Child::try_wait);
            if let Some(status) = ended.transpose()?.flatten() {
                ensure!(status.success() || gate.acted(), "larder ended with {status}");
                self.runs += usize::from(gate.acted());
                return Ok(gate.acted());
            }
            sleep(Duration::from_millis(1));
        }
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command of the binary and kills it after `limit`; how long it ran. One that had ended by then has succeeded.
pub fn killed_after(containerd: &Containerd, words: &[&str], limit: Duration) -> Result<Duration> {
    let begun = Instant::now();
    let mut child =
        command()?.args(words).args(node_arguments(containerd)).spawn().context("start larder")?;
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "larder ended with {status}");
            return Ok(begun.elapsed());
        }
        sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    Ok(begun.elapsed())
}

fn kill(victim: &Mutex<Option<Child>>) {
    loop {
        if let Some(child) = locked(victim).as_mut() {
            let _ = child.kill();
            // The request that was stopped must not go on before the process has ended.
            let _ = child.wait();
            return;
        }
        sleep(Duration::from_millis(1));
    }
}

/// Snapshots whose content is a link, by where they are, and where they lead.
pub fn links(containerd: &Containerd) -> Vec<(PathBuf, PathBuf)> {
    let snapshots = containerd.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    let links = entries(&snapshots).into_iter().map(|snapshot| snapshot.join("fs"));
    links.filter_map(|link| Some((link.clone(), fs::read_link(link).ok()?))).collect()
}

/// Snapshots that lead nowhere, or are neither a directory nor a link.
pub fn dangling(containerd: &Containerd) -> Vec<PathBuf> {
    let snapshots = containerd.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    let all = entries(&snapshots).into_iter().map(|snapshot| snapshot.join("fs"));
    all.filter(|path| !path.is_dir()).collect()
}

/// Runs an image's own command, and expects it to succeed and print `stdout`.
pub fn expect_run(containerd: &Containerd, name: &str, stdout: &str) -> Result<()> {
    let ran = containerd.run(name, &[]).with_context(|| format!("run {name}"))?;
    let wanted = Finished { exit_code: 0, stdout: stdout.to_owned(), stderr: String::new() };
    ensure!(ran == wanted, "{name}: {ran:?}");
    Ok(())
}
