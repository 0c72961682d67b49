//! What a copy has besides its content, in the order in which the kernel lets it stand: a new owner clears set-user-ID bits and
//! file capabilities, and attributes change times.

use std::ffi::CString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, lgetxattr, llistxattr,
    lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::super::{OverlayError, failed};

/// The kernel's limit for a value and for a list of names, bytes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 65536;
const PERMISSIONS: u32 = 0o7777;
/// The host's own rules say what this is; the disk has none of it where the host has.
const SELINUX: &[u8] = b"security.selinux";

/// Gives `to` the owner, mode, extended attributes and times of `from`, whose metadata is given.
pub(super) fn copy(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), OverlayError> {
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    let error = |action: &'static str| move |errno: Errno| failed(action, to)(errno.into());
    chownat(CWD, to, Some(uid), Some(gid), no_follow).map_err(error("give its owner to"))?;
    if !metadata.is_symlink() {
        let mode = Mode::from_raw_mode(metadata.mode() & PERMISSIONS);
        chmodat(CWD, to, mode, AtFlags::empty()).map_err(error("give its mode to"))?;
    }
    copy_xattrs(from, to).map_err(failed("copy the attributes of", from))?;
    utimensat(CWD, to, &times(metadata), no_follow).map_err(error("give its times to"))
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    for name in names(from)? {
        let mut value = Vec::with_capacity(XATTR_MAX);
        lgetxattr(from, &name, spare_capacity(&mut value))?;
        lsetxattr(to, &name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

fn names(path: &Path) -> io::Result<Vec<CString>> {
    let mut names = Vec::with_capacity(XATTR_MAX);
    llistxattr(path, spare_capacity(&mut names))?;
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty() && *name != SELINUX);
    names.map(|name| CString::new(name).map_err(io::Error::from)).collect()
}
