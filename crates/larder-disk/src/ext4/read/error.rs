//! What can be wrong with a file system that is read.

use std::borrow::Cow;
use std::fmt;
use std::io;

use larder_core::ByteSize;

/// The part of a file system that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The superblock.
    Superblock,
    /// The copy of superblock and group descriptors in a group.
    SuperblockCopy(u64),
    /// The descriptor of a group.
    Group(u64),
    /// A group's block bitmap.
    BlockBitmap(u64),
    /// A group's inode bitmap.
    InodeBitmap(u64),
    /// An inode.
    Inode(u32),
    /// A block of an inode's extent tree.
    ExtentBlock {
        /// The inode.
        inode: u32,
        /// The block's number on the disk.
        block: u64,
    },
    /// A block of a directory.
    DirectoryBlock {
        /// The directory's inode.
        inode: u32,
        /// The block's number within the directory.
        block: u32,
    },
    /// A block of extended attributes.
    XattrBlock {
        /// An inode that has them.
        inode: u32,
        /// The block's number on the disk.
        block: u64,
    },
    /// The journal.
    Journal,
}

impl Object {
    /// The inode that the part belongs to.
    pub fn inode(self) -> Option<u32> {
        match self {
            Self::Inode(inode)
            | Self::ExtentBlock { inode, .. }
            | Self::DirectoryBlock { inode, .. }
            | Self::XattrBlock { inode, .. } => Some(inode),
            Self::Superblock
            | Self::SuperblockCopy(_)
            | Self::Group(_)
            | Self::BlockBitmap(_)
            | Self::InodeBitmap(_)
            | Self::Journal => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => write!(f, "superblock"),
            Self::SuperblockCopy(group) => write!(f, "copy of the superblock in group {group}"),
            Self::Group(group) => write!(f, "descriptor of group {group}"),
            Self::BlockBitmap(group) => write!(f, "block bitmap of group {group}"),
            Self::InodeBitmap(group) => write!(f, "inode bitmap of group {group}"),
            Self::Inode(inode) => write!(f, "inode {inode}"),
            Self::ExtentBlock { inode, block } => write!(f, "inode {inode}: extent block {block}"),
            Self::DirectoryBlock { inode, block } => write!(f, "inode {inode}: directory block {block}"),
            Self::XattrBlock { inode, block } => write!(f, "inode {inode}: attribute block {block}"),
            Self::Journal => write!(f, "journal"),
        }
    }
}

/// Why a file system, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file or device cannot be read.
    #[error("cannot read at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no superblock where one should be.
    #[error("no ext4 file system begins here")]
    NotExt4,
    /// The file or device ends before the file system does.
    #[error("it is truncated: the file system has {needed}, and {available} are there")]
    Truncated {
        /// Of the file system.
        needed: ByteSize,
        /// Of the file or device.
        available: ByteSize,
    },
    /// A feature that no cache disk has, and that changes the meaning of what is read.
    #[error("{0}: not supported on a cache disk")]
    Unsupported(Cow<'static, str>),
    /// Stored and computed checksum differ.
    #[error("{0}: its checksum is wrong")]
    Checksum(Object),
    /// What is there cannot be.
    #[error("{object}: {what}")]
    Damaged {
        /// The part.
        object: Object,
        /// What is wrong with it.
        what: Cow<'static, str>,
    },
}

impl ReadError {
    pub(super) fn damaged(object: Object, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Damaged { object, what: what.into() }
    }

    pub(super) fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unsupported(what.into())
    }

    /// The inode that the error is about.
    pub(crate) fn inode(&self) -> Option<u32> {
        match self {
            Self::Checksum(object) | Self::Damaged { object, .. } => object.inode(),
            _ => None,
        }
    }
}
