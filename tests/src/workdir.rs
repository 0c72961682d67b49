//! A directory for one running part of the lab, with a path short enough for unix sockets. Dropping it takes away
//! everything below it: shims and their containers, mounts, loop devices, control groups, files. What a killed process
//! left behind is taken away by the next one.

mod sweep;

use std::fs::{self, DirEntry, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, Result};
use rustix::process::geteuid;

const PREFIX: &str = "larder-lab-";
/// Never a tmpfs: overlayfs layers with user xattrs, and a gigabyte now and then, belong on a disk.
const PARENT: &str = "/var/tmp";

/// A directory that is swept away on drop.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    /// Locked as long as we live: another process sweeps only what nobody holds.
    _held: File,
}

impl Workdir {
    /// A new, empty directory.
    pub fn new() -> Result<Self> {
        static LEFT_BEHIND: Once = Once::new();
        LEFT_BEHIND.call_once(sweep_left_behind);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(6)
            .tempdir_in(PARENT)
            .with_context(|| format!("make a directory in {PARENT}"))?;
        let held = File::create(lock_of(dir.path()))?;
        held.lock()?;
        Ok(Self { path: dir.keep(), _held: held })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The last part of its path, unique on the machine.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        sweep::sweep(&self.path);
    }
}

fn lock_of(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// A directory without a lock file was made this very moment, or its sweep is under way.
fn sweep_left_behind() {
    let Ok(entries) = fs::read_dir(PARENT) else { return };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let mine = |entry: &DirEntry| entry.metadata().is_ok_and(|dir| dir.uid() == geteuid().as_raw());
    for dir in ours.filter(mine).map(|entry| entry.path()) {
        let Ok(lock) = File::open(lock_of(&dir)) else { continue };
        if lock.try_lock().is_ok() {
            sweep::sweep(&dir);
        }
    }
}
