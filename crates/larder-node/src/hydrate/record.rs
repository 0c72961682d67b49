//! How far the reading of a disk is, in a file for others to see: `hydrations/<id>.json` in the state directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use larder_core::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{HydrateError, HydrateOutcome, HydrateProgress, failed};
use crate::causes::with_causes;
use crate::state::StateDir;

/// Changes with every start of the node.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How far the reading of a disk is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hydration {
    /// Where it stands.
    pub state: HydrationState,
    /// Bytes read.
    pub read: u64,
    /// Bytes in use on the disk; 0 while it is not known.
    pub total: u64,
    /// Bytes a second, since the beginning.
    pub bytes_per_second: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The device.
    pub device: PathBuf,
    number: u64,
    boot: String,
}

/// Where the reading of a disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HydrationState {
    /// A process is at it.
    Running,
    /// All of it was read.
    Done,
    /// It ended before all was read.
    Ended,
    /// It failed.
    Failed,
}

/// The record of one disk, locked while it is open; of a disk without an id nothing is kept.
pub(super) struct Journal {
    file: Option<(PathBuf, File)>,
    hydration: Option<Hydration>,
}

impl Journal {
    /// None where another process has it open.
    pub(super) fn open(state: &StateDir, disk: Option<Digest>) -> Result<Option<Self>, HydrateError> {
        let Some(disk) = disk else { return Ok(Some(Self { file: None, hydration: None })) };
        let directory = directory(state);
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        forget_others(&directory, state)?;
        let lock = directory.join(disk.hex()).with_extension("lock");
        let file = File::create(&lock).map_err(failed("open", &lock))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed("lock", &lock)(errno.into())),
        }
        let path = lock.with_extension("json");
        Ok(Some(Self { hydration: parse(&path)?, file: Some((path, file)) }))
    }

    /// Whether this device was read through since the node started.
    pub(super) fn is_done(&self, number: u64) -> Result<bool, HydrateError> {
        let boot = boot()?;
        let done = |seen: &Hydration| {
            seen.state == HydrationState::Done && seen.number == number && seen.boot == boot
        };
        Ok(self.hydration.as_ref().is_some_and(done))
    }

    pub(super) fn begin(&mut self, device: &Path, number: u64) -> Result<(), HydrateError> {
        self.hydration = Some(Hydration {
            state: HydrationState::Running,
            read: 0,
            total: 0,
            bytes_per_second: 0,
            message: None,
            device: device.to_owned(),
            number,
            boot: boot()?,
        });
        self.write()
    }

    pub(super) fn note(&mut self, seen: HydrateProgress) -> Result<(), HydrateError> {
        if let Some(hydration) = &mut self.hydration {
            let HydrateProgress { read, total, rate } = seen;
            (hydration.read, hydration.total, hydration.bytes_per_second) = (read, total, rate);
        }
        self.write()
    }

    pub(super) fn end(&mut self, outcome: &Result<HydrateOutcome, HydrateError>) -> Result<(), HydrateError> {
        use HydrateOutcome::{AlreadyDone, AlreadyRunning, DiskGone, Done, Stopped};
        let (state, seen, message) = match outcome {
            Ok(Done(seen)) => (HydrationState::Done, Some(*seen), None),
            Ok(Stopped(seen)) => (HydrationState::Ended, Some(*seen), None),
            Ok(DiskGone(seen)) => (HydrationState::Ended, Some(*seen), Some("the disk went away".to_owned())),
            Ok(AlreadyDone | AlreadyRunning) => return Ok(()),
            Err(error) => (HydrationState::Failed, None, Some(with_causes(error))),
        };
        if let Some(hydration) = &mut self.hydration {
            (hydration.state, hydration.message) = (state, message);
        }
        match seen {
            Some(seen) => self.note(seen),
            None => self.write(),
        }
    }

    /// As a whole or not at all; a record that a power failure takes is no loss.
    fn write(&self) -> Result<(), HydrateError> {
        let (Some((path, _)), Some(hydration)) = (&self.file, &self.hydration) else { return Ok(()) };
        let text =
            serde_json::to_vec_pretty(hydration).map_err(|error| failed("write", path)(error.into()))?;
        let temporary = path.with_extension("new");
        fs::write(&temporary, text).map_err(failed("write", &temporary))?;
        fs::rename(&temporary, path).map_err(failed("replace", path))
    }
}

/// How far the reading of `disk` is; none where it was never begun. A process that died leaves what it was doing as ended.
pub(crate) fn read(state: &StateDir, disk: Digest) -> Result<Option<Hydration>, HydrateError> {
    let path = directory(state).join(disk.hex()).with_extension("json");
    let Some(mut hydration) = parse(&path)? else { return Ok(None) };
    if hydration.state == HydrationState::Running && !is_locked(&path.with_extension("lock")) {
        hydration.state = HydrationState::Ended;
        hydration.message = Some("its process died".to_owned());
    }
    Ok(Some(hydration))
}

fn is_locked(lock: &Path) -> bool {
    File::open(lock)
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
}

/// A record that cannot be understood is as good as none: the disk is read again.
fn parse(path: &Path) -> Result<Option<Hydration>, HydrateError> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Records of disks that have left the node go with them.
fn forget_others(directory: &Path, state: &StateDir) -> Result<(), HydrateError> {
    let known: Vec<_> = state.known_disks()?.iter().map(Digest::hex).collect();
    for entry in directory.read_dir().map_err(failed("list", directory))? {
        let path = entry.map_err(failed("list", directory))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !known.iter().any(|disk| disk == stem) {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

fn directory(state: &StateDir) -> PathBuf {
    state.disks().with_file_name("hydrations")
}

fn boot() -> Result<String, HydrateError> {
    let path = Path::new(BOOT_ID);
    Ok(fs::read_to_string(path).map_err(failed("read", path))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir, Digest) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let disk = Digest::of(b"disk");
        fs::create_dir(state.place(disk)).unwrap();
        (directory, state, disk)
    }

    const SEEN: HydrateProgress = HydrateProgress { read: 5, total: 10, rate: 2 };

    #[test]
    fn what_was_read_is_not_read_again_until_the_device_is_another() {
        let (_directory, state, disk) = state();
        let mut journal = Journal::open(&state, Some(disk)).unwrap().unwrap();
        assert!(!journal.is_done(7).unwrap());
        journal.begin(Path::new("/dev/x"), 7).unwrap();
        journal.end(&Ok(HydrateOutcome::Done(SEEN))).unwrap();
        drop(journal);
        let journal = Journal::open(&state, Some(disk)).unwrap().unwrap();
        assert!(journal.is_done(7).unwrap() && !journal.is_done(8).unwrap());
        let seen = read(&state, disk).unwrap().unwrap();
        assert_eq!((seen.state, seen.read, seen.bytes_per_second), (HydrationState::Done, 5, 2));
    }

    #[test]
    fn one_process_reads_a_disk_and_one_that_died_is_seen() {
        let (_directory, state, disk) = state();
        let mut journal = Journal::open(&state, Some(disk)).unwrap().unwrap();
        assert!(Journal::open(&state, Some(disk)).unwrap().is_none());
        journal.begin(Path::new("/dev/x"), 7).unwrap();
        journal.note(SEEN).unwrap();
        assert_eq!(read(&state, disk).unwrap().unwrap().state, HydrationState::Running);
        drop(journal);
        let seen = read(&state, disk).unwrap().unwrap();
        assert_eq!((seen.state, seen.read), (HydrationState::Ended, 5));
        assert!(seen.message.unwrap().contains("died"));
    }

    #[test]
    fn records_of_disks_that_left_are_forgotten_and_damaged_ones_do_not_matter() {
        let (_directory, state, disk) = state();
        drop(Journal::open(&state, Some(disk)).unwrap());
        let path = directory(&state).join(disk.hex()).with_extension("json");
        fs::write(&path, "{").unwrap();
        assert_eq!(read(&state, disk).unwrap(), None);
        fs::remove_dir(state.place(disk)).unwrap();
        let other = Digest::of(b"other");
        fs::create_dir(state.place(other)).unwrap();
        drop(Journal::open(&state, Some(other)).unwrap());
        assert!(!path.exists());
    }
}
