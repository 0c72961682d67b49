//! Putting a cache disk at its stable place on the node, read-only, and taking it away again. Knows no containerd.

mod device;
mod mounts;
mod source;
mod tree;

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use larder_core::Digest;
use larder_disk::{CacheDisk, LayoutError};
use rustix::fs::{StatVfsMountFlags, major, minor, statvfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::state::StateDir;
pub(crate) use device::{device_node, has_device, is_present};
pub(crate) use mounts::is_mount_point;
use mounts::is_mounted;
pub(crate) use source::bring_back;
pub use source::{DiskSelector, DiskSource, SelectError};
pub use tree::{DiskTree, enter_mount_namespace};

/// What a disk is known by.
const INDEX: &str = "index.json";

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
    /// The kernel has mounted it, but does not give what was read from the device.
    #[error("disk {disk} does not read as itself once mounted at {place}")]
    NotReadable {
        /// The place.
        place: PathBuf,
        /// The disk.
        disk: Digest,
    },
    /// Neither where it was attached from nor on any block device.
    #[error("disk {disk} is away: {tried}")]
    Away {
        /// The disk.
        disk: Digest,
        /// Where it was looked for, and what was there.
        tried: String,
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

/// What is at a disk's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The disk.
    Ready,
    /// Nothing.
    Empty,
    /// A mount that no longer reads as the disk, such as of a device that was taken away.
    Broken,
}

/// Reads what a disk holds where it is, without mounting it: what is damaged or foreign is found out before anything changes.
pub(crate) fn read_source(source: &DiskSource) -> Result<CacheDisk, StageError> {
    match source {
        DiskSource::Device(device) => CacheDisk::open(device).map_err(layout(device)),
        DiskSource::Directory(directory) => read(directory),
        DiskSource::Tree(tree) => Ok(tree.disk()),
    }
}

fn read(root: &Path) -> Result<CacheDisk, StageError> {
    CacheDisk::read(root).map_err(layout(root))
}

fn layout(path: &Path) -> impl FnOnce(LayoutError) -> StageError {
    let path = path.to_owned();
    move |source| StageError::Layout { path, source: source.into() }
}

/// Says what is at `place`, which is the place of `disk`. Another disk there is an error.
pub(crate) fn look(place: &Path, disk: Digest) -> Result<Place, StageError> {
    if !is_mount_point(place).map_err(failed("read the mounts for", place))? {
        return Ok(Place::Empty);
    }
    // A device that is gone may still be read from the page cache, for a while.
    if !has_device(place).unwrap_or(false) {
        return Ok(Place::Broken);
    }
    match fs::read(place.join(INDEX)) {
        Err(_) => Ok(Place::Broken),
        Ok(index) if Digest::of(&index) == disk => Ok(Place::Ready),
        Ok(index) => Err(StageError::Occupied { place: place.to_owned(), found: Digest::of(&index) }),
    }
}

/// Mounts the disk, which was read from `source`, at its place, a device with `options`; one that is there already is kept.
pub(crate) fn stage(
    state: &StateDir,
    source: &DiskSource,
    options: Option<&str>,
    disk: CacheDisk,
) -> Result<Staged, StageError> {
    let place = state.place(disk.id);
    let seen = look(&place, disk.id)?;
    if seen == Place::Broken {
        tracing::warn!(place = %place.display(), "a cache disk has gone away under its mount");
        abandon(&place)?;
    }
    let fresh = seen != Place::Ready;
    let staged = if fresh { put(source, options, &place) } else { Ok(()) };
    let staged = staged.and_then(|()| protect(&place)).and_then(|()| expect(&place, disk.id));
    match staged {
        Ok(()) => Ok(Staged { disk, place, fresh }),
        Err(error) => {
            if fresh && let Err(left) = unstage(&place) {
                tracing::warn!(
                    error = &left as &dyn std::error::Error,
                    "a mount that failed half-way is left"
                );
            }
            Err(error)
        }
    }
}

/// Unmounts whatever is at `place` and removes the directory; a place that is not there is fine.
pub(crate) fn unstage(place: &Path) -> Result<(), StageError> {
    clear(place, UnmountFlags::NOFOLLOW)?;
    match fs::remove_dir(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", place)(error)),
        _ => Ok(()),
    }
}

/// Takes a mount away whose device is gone, also while something has a file of it open.
fn abandon(place: &Path) -> Result<(), StageError> {
    clear(place, UnmountFlags::NOFOLLOW.union(UnmountFlags::DETACH))
}

fn clear(place: &Path, flags: UnmountFlags) -> Result<(), StageError> {
    while is_mount_point(place).map_err(failed("read the mounts for", place))? {
        unmount(place, flags).map_err(failed("unmount", place))?;
    }
    Ok(())
}

/// The device that the file system at `place` is on; none where there is no place, or no device.
pub(crate) fn device_at(place: &Path) -> Result<Option<PathBuf>, StageError> {
    match device::device_of(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        device => device.map_err(failed("read", place)),
    }
}

/// Whether the device of a disk that was unmounted is free to go: nothing reads it, neither by a mount nor below a container.
/// Where somebody else has it mounted, as the kubelet has a volume's, it is theirs to say.
pub(crate) fn is_free(device: &Path) -> Result<bool, StageError> {
    let Ok(metadata) = fs::metadata(device) else { return Ok(true) };
    let number = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
    if is_mounted(&number).map_err(failed("read the mounts for", device))? {
        return Ok(true);
    }
    device::is_released(device).map_err(failed("open", device))
}

fn put(source: &DiskSource, options: Option<&str>, place: &Path) -> Result<(), StageError> {
    create_dir(place)?;
    match source {
        DiskSource::Device(device) => {
            let options = options.map(CString::new).transpose().map_err(failed("mount", device))?;
            mount(device, place, "ext4", FLAGS, options.as_deref()).map_err(failed("mount", device))?;
        }
        DiskSource::Directory(directory) => {
            mount_bind(directory, place).map_err(failed("bind", directory))?;
        }
        DiskSource::Tree(tree) => tree.move_to(place).map_err(failed("mount the disk at", place))?,
    }
    tracing::info!(from = %source.name().display(), to = %place.display(), "mounted a cache disk");
    Ok(())
}

/// A bind mount is read-only only in a second step, which a run that was killed may not have come to.
fn protect(place: &Path) -> Result<(), StageError> {
    let flags = statvfs(place).map_err(failed("read", place))?.f_flag;
    let wanted = StatVfsMountFlags::RDONLY | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV;
    if flags.contains(wanted) {
        return Ok(());
    }
    mount_remount(place, MountFlags::BIND.union(FLAGS), c"").map_err(failed("make read-only", place))
}

/// What was mounted must be what was read.
fn expect(place: &Path, disk: Digest) -> Result<(), StageError> {
    match look(place, disk)? {
        Place::Ready => Ok(()),
        Place::Empty | Place::Broken => Err(StageError::NotReadable { place: place.to_owned(), disk }),
    }
}

fn create_dir(path: &Path) -> Result<(), StageError> {
    fs::create_dir_all(path).map_err(failed("create", path))
}

fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> StageError {
    let path = path.to_owned();
    move |source| StageError::Io { action, path, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_there_is_on_no_device_and_one_that_cannot_be_read_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(device_at(Path::new("/nowhere")).unwrap(), None);
        let error = device_at(&file.path().join("place")).unwrap_err();
        assert!(matches!(error, StageError::Io { action: "read", .. }), "{error:?}");
    }
}
