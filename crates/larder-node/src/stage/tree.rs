//! A disk's mount taken along from one mount namespace to another, as from a pod's to its host's: the host's mount is one
//! of its own, which goes on when the pod and its volumes are gone.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_disk::CacheDisk;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{StageError, failed, read};

/// A copy of a mount that is not yet mounted anywhere.
#[derive(Clone, Debug)]
pub struct DiskTree {
    name: PathBuf,
    /// Read where it came from: what is not mounted has no path of its own.
    disk: Arc<CacheDisk>,
    tree: Arc<OwnedFd>,
}

/// The same copy, not one of the same disk.
impl PartialEq for DiskTree {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tree, &other.tree)
    }
}

impl Eq for DiskTree {}

impl DiskTree {
    /// Reads the disk in `directory` and copies its mount, in this process's mount namespace.
    pub fn copy(directory: &Path) -> Result<Self, StageError> {
        let disk = read(directory)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, directory, flags).map_err(failed("copy the mount of", directory))?;
        Ok(Self { name: directory.to_owned(), disk: Arc::new(disk), tree: Arc::new(tree) })
    }

    /// Its root, through the kernel's own link.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.tree.as_raw_fd()))
    }

    pub(super) fn disk(&self) -> CacheDisk {
        (*self.disk).clone()
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn move_to(&self, place: &Path) -> io::Result<()> {
        Ok(move_mount(&*self.tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }
}

/// Moves this process into the mount namespace `namespace`, such as `/proc/1/ns/mnt`: every path is the host's from then on.
/// Only a process without further threads may.
pub fn enter_mount_namespace(namespace: &Path) -> io::Result<()> {
    let link = fs::File::open(namespace)?;
    Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&link), Some(LinkNameSpaceType::Mount))?)
}
