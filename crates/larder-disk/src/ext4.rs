//! A streaming writer of ext4 file systems: content first, straight to its final place; metadata last; the superblock at the very end.
//!
//! Follows the kernel's `Documentation/filesystems/ext4/` and `fs/ext4/*.h`; e2fsck, the kernel and a second reader are the
//! oracles in the tests. Features: those that mke2fs 1.47 chooses by default, except `resize_inode` (a cache disk is
//! never grown) and `orphan_file` (unknown to older kernels).

mod acl;
mod checksum;
mod content;
mod device;
mod directory;
mod extents;
mod geometry;
mod groups;
mod inode;
mod ledger;
mod nodes;
pub(crate) mod read;
mod space;
mod superblock;
mod volume;
mod xattr;

pub(crate) use acl::{as_kept as acl_as_kept, is_acl, is_empty as acl_is_empty, is_mode as acl_is_mode};
pub(crate) use content::{Closed, ContentWriter, OpenFile};
pub(crate) use device::Target;
pub(crate) use volume::{Sizing, Volume, VolumeOptions};
pub(crate) use xattr::{fit as xattrs_fit, is_storable};

use crate::tree::Kind;
use std::io;

/// The block size in bytes; the page size of the machines that mount the disk.
pub(crate) const BLOCK: usize = 4096;
const BLOCK_U64: u64 = BLOCK as u64;

/// Why a file system could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// Reading or writing the target failed.
    #[error("cannot {doing} the disk")]
    Io {
        /// `write`, `sync`, ...
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The target is too small for what should be on it.
    #[error("the disk is full: it has {available}")]
    Full {
        /// Its size.
        available: larder_core::ByteSize,
    },
    /// More files than the target's block groups can number.
    #[error("the disk is too small for {inodes} files")]
    Inodes {
        /// Files, directories and links to write.
        inodes: u64,
    },
    /// An inode's extended attributes need more than the inode and one block.
    #[error("{path}: its extended attributes take more than one block of 4096 bytes, which ext4 cannot hold")]
    Xattrs {
        /// The file.
        path: String,
    },
    /// An access control list is not in the kernel's format.
    #[error("{path}: its access control list is malformed")]
    Acl {
        /// The file.
        path: String,
    },
    /// A directory has more names than a hash tree of two levels reaches: four to eighty millions, by their length.
    #[error("{path}: the directory has more names than ext4 can hold")]
    Directory {
        /// The directory.
        path: String,
    },
    /// A file is larger than ext4's block numbers reach.
    #[error("a file of 16 TiB or more is larger than ext4 can hold")]
    FileTooLarge,
}

impl Ext4Error {
    fn write(source: io::Error) -> Self {
        Self::Io { doing: "write", source }
    }
}

/// The file type as directory entries hold it (`EXT4_FT_*`).
fn entry_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::CharacterDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// The file type as inodes hold it (`S_IFMT`).
fn mode_type(kind: &Kind) -> u16 {
    match kind {
        Kind::File(_) => 0o100_000,
        Kind::Directory(_) => 0o040_000,
        Kind::CharacterDevice { .. } => 0o020_000,
        Kind::BlockDevice { .. } => 0o060_000,
        Kind::Fifo => 0o010_000,
        Kind::Symlink(_) => 0o120_000,
    }
}

/// Writes a little-endian number into `bytes` at `offset`.
fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}
