//! The attributes of an entry's header, as far as the kernel and a file system keep them.

use crate::ext4;
use crate::tar::Entry;
use crate::tree::{Attributes, Kind, Time};

pub(super) const CAPABILITY: &[u8] = b"security.capability";
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// The longest attribute name that Linux accepts (`XATTR_NAME_MAX`).
const MAX_XATTR_NAME: usize = 255;
/// The last moment that containerd's own calls can express: the 64-bit count of nanoseconds ends.
const LAST: Time = Time { seconds: i64::MAX / 1_000_000_000, nanoseconds: 854_775_807 };

/// Why an entry's attributes cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttributeError {
    #[error("the owner {0}:{1} is out of range")]
    Owner(i64, i64),
    #[error("the name of the extended attribute {0:?} is empty or too long")]
    XattrName(String),
    #[error("its extended attributes take more than one block of 4096 bytes, which ext4 cannot hold")]
    TooLarge,
    #[error("its access control list is malformed, or one that only directories have")]
    Acl,
    #[error("its file capability is malformed")]
    Capability,
}

/// The attributes of an entry that makes a node of `kind`.
pub(super) fn attributes(entry: &Entry, kind: &Kind) -> Result<Attributes, AttributeError> {
    let mut attributes = Attributes { mode: mode(entry, kind), ..owner(entry)? };
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_taken(name, kind)) {
        check(name, value, kind)?;
        if !says_nothing(name, value) {
            attributes.set_xattr(name, value);
        }
    }
    fits(&attributes)?;
    Ok(attributes)
}

/// Owner and time alone.
pub(super) fn owner(entry: &Entry) -> Result<Attributes, AttributeError> {
    let owner = || AttributeError::Owner(entry.uid, entry.gid);
    // The last number means "leave it as it is" to chown.
    let id = |id: i64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(owner);
    Ok(Attributes {
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mtime: bounded(entry.mtime),
        ..Attributes::default()
    })
}

/// An access control list that says no more than the mode: the kernel removes the one that is there.
fn says_nothing(name: &[u8], value: &[u8]) -> bool {
    match name {
        ACL_ACCESS => ext4::acl_is_mode(value),
        ACL_DEFAULT => ext4::acl_is_empty(value),
        _ => false,
    }
}

/// A later header for the same node, `entry`: its extended attributes are added to those that are there.
pub(super) fn update(
    attributes: &mut Attributes,
    later: Attributes,
    entry: &Entry,
) -> Result<(), AttributeError> {
    let earlier = std::mem::replace(attributes, later);
    let removes = |name: &[u8]| removed(entry).any(|removed| removed == name);
    for (name, value) in earlier.xattrs.into_iter().flat_map(|xattrs| *xattrs) {
        let known = attributes.xattrs.as_ref().is_some_and(|xattrs| xattrs.contains_key(&name));
        if !known && !removes(&name) {
            attributes.set_xattr(&name, &value);
        }
    }
    fits(attributes)
}

/// The extended attributes that an entry removes from what is there.
pub(super) fn removed(entry: &Entry) -> impl Iterator<Item = &[u8]> {
    let removes = |(name, value): &&(Vec<u8>, Vec<u8>)| says_nothing(name, value);
    entry.xattrs.iter().filter(removes).map(|(name, _)| name.as_slice())
}

/// containerd replaces times that its own clock calls cannot express by 1970.
pub(super) fn bounded(time: Time) -> Time {
    let key = |time: Time| (time.seconds, time.nanoseconds);
    if time.seconds >= 0 && key(time) <= key(LAST) { time } else { Time::default() }
}

#[expect(clippy::cast_sign_loss, reason = "twelve bits are left")]
fn mode(entry: &Entry, kind: &Kind) -> u16 {
    match kind {
        Kind::Symlink(_) => 0o777,
        _ => (entry.mode & 0o7777) as u16,
    }
}

/// What containerd sets: never `trusted.*`, which are the node's own, nor what the file system cannot store.
fn is_taken(name: &[u8], kind: &Kind) -> bool {
    let refused = match kind {
        Kind::File(_) | Kind::Directory(_) => false,
        Kind::Symlink(_) => name.starts_with(b"user.") || matches!(name, ACL_ACCESS | ACL_DEFAULT),
        _ => name.starts_with(b"user."),
    };
    !refused && !name.starts_with(b"trusted.") && ext4::is_storable(name)
}

/// What the kernel would refuse, and containerd with it.
fn check(name: &[u8], value: &[u8], kind: &Kind) -> Result<(), AttributeError> {
    let is_directory = matches!(kind, Kind::Directory(_));
    match name {
        name if name.ends_with(b".") && !name[..name.len() - 1].contains(&b'.') => Err(bad_name(name)),
        name if name.len() > MAX_XATTR_NAME => Err(bad_name(name)),
        CAPABILITY if !is_capability(value) => Err(AttributeError::Capability),
        ACL_DEFAULT if !is_directory => Err(AttributeError::Acl),
        ACL_ACCESS | ACL_DEFAULT if !ext4::is_acl(value) => Err(AttributeError::Acl),
        _ => Ok(()),
    }
}

fn bad_name(name: &[u8]) -> AttributeError {
    AttributeError::XattrName(super::shown(name))
}

/// `struct vfs_cap_data` of revision 2, or `struct vfs_ns_cap_data` of revision 3.
fn is_capability(value: &[u8]) -> bool {
    match (value.len(), value.get(3)) {
        (20, Some(revision)) => *revision == 2,
        (24, Some(revision)) => *revision == 3,
        _ => false,
    }
}

/// Told here, where the entry is known, and not when the inode is written.
fn fits(attributes: &Attributes) -> Result<(), AttributeError> {
    match &attributes.xattrs {
        Some(xattrs) if !ext4::xattrs_fit(xattrs, attributes.mode) => Err(AttributeError::TooLarge),
        _ => Ok(()),
    }
}
