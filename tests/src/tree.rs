//! A directory tree read from disk entry by entry and attribute by attribute, and what two of them differ in.

mod diff;
mod read;

use std::collections::BTreeMap;

use larder_core::Digest;

pub use diff::diff;
pub use read::read;

/// A tree: each entry under its path, relative to the root, which has the empty path.
pub type Tree = BTreeMap<Vec<u8>, Entry>;

/// One entry with everything that unpacking a layer decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is, with what belongs to that kind only.
    pub kind: Kind,
    /// The permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The time of modification, seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// All extended attributes, `trusted.` and `security.` among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How many names the inode has, and the first of them in this tree; none for a directory.
    pub links: Option<(u64, Vec<u8>)>,
}

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Of its content.
        digest: Digest,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A character device; 0:0 is overlayfs's whiteout.
    CharDevice {
        /// Major and minor number.
        number: (u32, u32),
    },
    /// A block device.
    BlockDevice {
        /// Major and minor number.
        number: (u32, u32),
    },
    /// A named pipe.
    Fifo,
    /// A unix socket, which no layer can hold.
    Socket,
}
