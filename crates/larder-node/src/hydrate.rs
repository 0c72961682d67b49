//! Hydrate: a disk is read through once, at idle priority, so that a network disk that fetches its blocks when they are first
//! read has them before containers want them.

mod pace;
mod priority;
mod record;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use larder_core::Digest;
use larder_disk::{Sweep, SweepError};
use rustix::io::Errno;

use crate::stage::{DiskSelector, DiskSource, SelectError, device_node, is_mount_point, is_present};
use crate::state::{StateDir, StateError};
use record::Journal;
pub(crate) use record::read as read_hydration;
pub use record::{Hydration, HydrationState};

/// How often the record is written and the disk's place looked at.
const TICK: Duration = Duration::from_secs(1);

/// A disk to read through.
#[derive(Clone, Debug)]
pub struct HydrateOptions {
    /// Where disks are mounted; as for attach.
    pub state_dir: PathBuf,
    /// Bytes a second at most; none for as fast as idle priority goes.
    pub rate: Option<u64>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HydrateProgress {
    /// Bytes read.
    pub read: u64,
    /// Bytes in use on the disk.
    pub total: u64,
    /// Bytes a second, since the beginning.
    pub rate: u64,
}

/// How it ended, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HydrateOutcome {
    /// Everything was read.
    Done(HydrateProgress),
    /// It was read since the node started, and is not read again.
    AlreadyDone,
    /// Another process is at it.
    AlreadyRunning,
    /// The disk was unmounted, or its device removed.
    DiskGone(HydrateProgress),
    /// It was told to stop.
    Stopped(HydrateProgress),
}

/// Why a disk was not read through.
#[derive(Debug, thiserror::Error)]
pub enum HydrateError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The disk cannot be told.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// It is on no block device: a copy of its files has nothing to fetch.
    #[error("{0} is not on a block device, so that there is nothing to fetch")]
    NoDevice(PathBuf),
    /// It is not mounted at its place.
    #[error("disk {disk} is not mounted at {place}")]
    NotMounted {
        /// The disk.
        disk: Digest,
        /// Its place.
        place: PathBuf,
    },
    /// Its priority cannot be lowered.
    #[error("cannot lower the priority of the thread that reads: {0}")]
    Priority(String),
    /// The device cannot be read.
    #[error("{device}")]
    Sweep {
        /// The device.
        device: PathBuf,
        /// What is wrong.
        #[source]
        source: SweepError,
    },
    /// Something about the file system failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What is read, and how its going away is noticed.
#[derive(Debug)]
struct Target {
    device: PathBuf,
    /// The device's number.
    number: u64,
    /// Where it is mounted and which disk that is, where it is attached.
    attached: Option<(Digest, PathBuf)>,
}

/// Reads `disk` through on this thread, whose priority stays low. `stop` ends it early; `progress` hears of it every second.
pub fn hydrate(
    options: &HydrateOptions,
    disk: &DiskSelector,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(HydrateProgress),
) -> Result<HydrateOutcome, HydrateError> {
    let state = StateDir::open(&options.state_dir)?;
    let target = Target::of(disk, &state)?;
    let Some(mut journal) = Journal::open(&state, target.attached.as_ref().map(|(disk, _)| *disk))? else {
        return Ok(HydrateOutcome::AlreadyRunning);
    };
    if journal.is_done(target.number)? {
        return Ok(HydrateOutcome::AlreadyDone);
    }
    journal.begin(&target.device, target.number)?;
    let outcome = sweep(&target, options.rate, stop, &mut |seen| {
        progress(seen);
        journal.note(seen)
    });
    journal.end(&outcome)?;
    outcome
}

fn sweep(
    target: &Target,
    rate: Option<u64>,
    stop: &AtomicBool,
    note: &mut dyn FnMut(HydrateProgress) -> Result<(), HydrateError>,
) -> Result<HydrateOutcome, HydrateError> {
    priority::lower()?;
    let failed = |source| HydrateError::Sweep { device: target.device.clone(), source };
    let mut sweep = Sweep::open(&target.device).map_err(failed)?;
    let (start, mut read, mut ticked) = (Instant::now(), 0, Instant::now());
    let total = sweep.total();
    let seen = |read| HydrateProgress { read, total, rate: pace::rate(read, start.elapsed()) };
    note(seen(0))?;
    while !stop.load(Ordering::Relaxed) {
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            if target.is_gone() {
                return Ok(HydrateOutcome::DiskGone(seen(read)));
            }
            note(seen(read))?;
        }
        if let Some(nap) = pace::nap(rate, read, start.elapsed()) {
            thread::sleep(nap);
            continue;
        }
        match sweep.step() {
            Ok(Some(length)) => read += length as u64,
            Ok(None) => return Ok(HydrateOutcome::Done(seen(read))),
            Err(error) if target.is_gone() || says_gone(&error) => {
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "the disk went away while it was read"
                );
                return Ok(HydrateOutcome::DiskGone(seen(read)));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(HydrateOutcome::Stopped(seen(read)))
}

impl Target {
    fn of(disk: &DiskSelector, state: &StateDir) -> Result<Self, HydrateError> {
        let id = disk.resolve(state)?;
        let place = id.map(|id| (id, state.place(id)));
        let path = match disk {
            DiskSelector::Id(disk) => {
                let place = state.place(*disk);
                if !is_mount_point(&place).map_err(failed("read the mounts for", &place))? {
                    return Err(HydrateError::NotMounted { disk: *disk, place });
                }
                place
            }
            DiskSelector::At(source) => source.path(),
        };
        let metadata = fs::metadata(&path).map_err(failed("read", &path))?;
        let is_device = matches!(disk, DiskSelector::At(DiskSource::Device(_)));
        let number = if is_device { metadata.rdev() } else { metadata.dev() };
        let device =
            if is_device { path } else { device_node(number).ok_or(HydrateError::NoDevice(path))? };
        // A disk of this name may be attached from another device.
        let attached =
            place.filter(|(_, place)| fs::metadata(place).is_ok_and(|place| place.dev() == number));
        Ok(Self { device, number, attached })
    }

    /// Whether the disk was unmounted, or the kernel no longer has its device.
    fn is_gone(&self) -> bool {
        let mounted = |place: &Path| fs::metadata(place).is_ok_and(|place| place.dev() == self.number);
        !is_present(self.number) || self.attached.as_ref().is_some_and(|(_, place)| !mounted(place))
    }
}

/// What the kernel says of reads from a device that was taken away.
fn says_gone(error: &SweepError) -> bool {
    let SweepError::Read { source, .. } = error else { return false };
    matches!(Errno::from_io_error(source), Some(Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HydrateError + use<> {
    let path = path.to_owned();
    move |source| HydrateError::Io { action, path, source }
}
