//! Putting a cache disk at its stable place on the node, read-only, and taking it away again. Knows no containerd.

mod mounts;
mod source;

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use larder_core::Digest;
use larder_disk::{CacheDisk, LayoutError};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::state::StateDir;
pub(crate) use mounts::is_mount_point;
pub use source::{DiskSelector, DiskSource, SelectError};

/// Nothing on a disk is run or opened by way of this mount: overlayfs makes a mount of its own from it.
const FLAGS: MountFlags = MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV);

/// Why a disk cannot be put at its place or taken away.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
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
    /// A disk image is a file, and needs a loop device first.
    #[error(
        "{0} is a disk image: make it a device with `losetup --find --show --read-only {0}`, and attach that"
    )]
    File(PathBuf),
    /// Neither a directory nor a block device.
    #[error("{0} is neither a directory nor a block device")]
    Kind(PathBuf),
    /// No cache disk, or a damaged one.
    #[error("{path} is not a cache disk that can be attached")]
    Layout {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<LayoutError>,
    },
    /// Something else is mounted at the disk's place.
    #[error("{place} has another disk mounted: {found}")]
    Occupied {
        /// The place.
        place: PathBuf,
        /// The disk there.
        found: Digest,
    },
}

/// A disk at its place.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) disk: CacheDisk,
    pub(crate) place: PathBuf,
    /// Whether this run mounted it.
    pub(crate) fresh: bool,
}

/// Reads the disk and mounts it at its place, a device with `options`; one that is there already is checked and kept.
pub(crate) fn stage(
    state: &StateDir,
    source: &DiskSource,
    options: Option<&CStr>,
) -> Result<Staged, StageError> {
    match source {
        DiskSource::Directory(directory) => stage_directory(state, directory),
        DiskSource::Device(device) => {
            let staging = state.staging();
            unstage(&staging)?;
            create_dir(&staging)?;
            mount(device, &staging, "ext4", FLAGS, options).map_err(failed("mount", device))?;
            let staged = stage_directory(state, &staging).map_err(|error| match error {
                StageError::Layout { source, .. } => StageError::Layout { path: device.clone(), source },
                other => other,
            });
            let cleared = unstage(&staging);
            let staged = staged?;
            cleared.map(|()| staged)
        }
    }
}

/// Unmounts whatever is at `place` and removes the directory; a place that is not there is fine.
pub(crate) fn unstage(place: &Path) -> Result<(), StageError> {
    while is_mount_point(place).map_err(failed("read the mounts for", place))? {
        unmount(place, UnmountFlags::NOFOLLOW).map_err(failed("unmount", place))?;
    }
    match fs::remove_dir(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", place)(error)),
        _ => Ok(()),
    }
}

fn stage_directory(state: &StateDir, directory: &Path) -> Result<Staged, StageError> {
    let disk = read(directory)?;
    let place = state.place(disk.id);
    let fresh = !is_mount_point(&place).map_err(failed("read the mounts for", &place))?;
    if fresh {
        bind(directory, &place)?;
    } else {
        let found = read(&place)?.id;
        if found != disk.id {
            return Err(StageError::Occupied { place, found });
        }
    }
    Ok(Staged { disk, place, fresh })
}

fn read(root: &Path) -> Result<CacheDisk, StageError> {
    CacheDisk::read(root)
        .map_err(|source| StageError::Layout { path: root.to_owned(), source: source.into() })
}

fn bind(directory: &Path, place: &Path) -> Result<(), StageError> {
    create_dir(place)?;
    mount_bind(directory, place).map_err(failed("bind", directory))?;
    let read_only = mount_remount(place, MountFlags::BIND.union(FLAGS), c"");
    read_only.map_err(failed("make read-only", place)).inspect_err(|_| {
        if let Err(error) = unstage(place) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a mount that failed half-way is left");
        }
    })?;
    tracing::info!(from = %directory.display(), to = %place.display(), "mounted a cache disk");
    Ok(())
}

fn create_dir(path: &Path) -> Result<(), StageError> {
    fs::create_dir_all(path).map_err(failed("create", path))
}

fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> StageError {
    let path = path.to_owned();
    move |source| StageError::Io { action, path, source: source.into() }
}
