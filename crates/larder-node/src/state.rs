//! The state directory: where each disk is mounted, and the lock that keeps two runs apart.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_core::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::Instant;

/// Another attach takes seconds at most; longer means that it hangs.
const LOCK_TIMEOUT: Duration = Duration::from_mins(2);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// Layers hold set-user-ID files: nobody but root reaches them by way of a mounted disk.
const MODE: u32 = 0o700;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or read.
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
    /// Another run holds the lock.
    #[error("another attach or detach has held {path} for {after:?}")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
}

/// An existing state directory, by its real path: links into it are compared by their text.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(PathBuf);

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl StateDir {
    /// Makes the directory where it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { action, path, source }
        };
        let disks = path.join("disks");
        DirBuilder::new().recursive(true).mode(MODE).create(&disks).map_err(failed("create", &disks))?;
        path.canonicalize().map(Self).map_err(failed("resolve", path))
    }

    /// As text, for the leases that this state directory's runs take.
    pub(crate) fn owner(&self) -> String {
        self.0.display().to_string()
    }

    /// Where the disk is mounted, and where the links lead.
    pub(crate) fn place(&self, disk: Digest) -> PathBuf {
        self.disks().join(disk.hex())
    }

    /// Where a device is mounted until it is known which disk it holds.
    pub(crate) fn staging(&self) -> PathBuf {
        self.0.join("staging")
    }

    /// What all places are below.
    pub(crate) fn disks(&self) -> PathBuf {
        self.0.join("disks")
    }

    /// The disks that have a place, mounted or not.
    pub(crate) fn known_disks(&self) -> Result<Vec<Digest>, StateError> {
        let failed = |source| StateError::Io { action: "list", path: self.disks(), source };
        let mut disks = Vec::new();
        for entry in self.disks().read_dir().map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            disks.extend(name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok()));
        }
        disks.sort_unstable();
        Ok(disks)
    }

    /// Takes the lock, waiting for another run to end.
    pub(crate) async fn lock(&self) -> Result<Lock, StateError> {
        let path = self.0.join("lock");
        let failed = |source| StateError::Io { action: "lock", path: path.clone(), source };
        let file = File::create(&path).map_err(failed)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => tokio::time::sleep(LOCK_POLL).await,
                Err(Errno::WOULDBLOCK) => return Err(StateError::Locked { path, after: LOCK_TIMEOUT }),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_run_waits_and_then_says_who_is_in_its_way() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let first = state.lock().await.unwrap();
        assert!(matches!(state.lock().await, Err(StateError::Locked { .. })));
        drop(first);
        state.lock().await.unwrap();
    }

    #[test]
    fn disks_are_known_by_their_places() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let disk = Digest::of(b"disk");
        std::fs::create_dir(state.place(disk)).unwrap();
        std::fs::create_dir(state.disks().join("lost+found")).unwrap();
        assert_eq!(state.known_disks().unwrap(), [disk]);
    }
}
