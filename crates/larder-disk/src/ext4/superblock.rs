//! The superblock, the group descriptors and the journal's own superblock.

use super::checksum::{Seed, raw};
use super::extents::Root;
use super::geometry::{DESCRIPTOR, GROUP, INODE, groups};
use super::{BLOCK, put};

/// The first inode that is not reserved; it is `lost+found`, without which e2fsck calls a file system damaged.
pub(super) const FIRST_INODE: u32 = 11;
/// The journal's inode.
pub(super) const JOURNAL_INODE: u32 = 8;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_EXT_ATTR: u32 = 0x8;
const COMPAT_DIR_INDEX: u32 = 0x20;
const INCOMPAT: u32 = 0x2 /* filetype */ | 0x40 /* extents */ | 0x80 /* 64bit */ | 0x200 /* flex_bg */;
const RO_COMPAT: u32 = 0x1 /* sparse_super */
    | 0x2 /* large_file */
    | 0x8 /* huge_file */
    | 0x20 /* dir_nlink */
    | 0x40 /* extra_isize */
    | 0x400 /* metadata_csum */;
/// `user_xattr,acl`.
const DEFAULT_MOUNT_OPTIONS: u32 = 0xc;
/// Directory hashes take characters as unsigned.
const FLAG_UNSIGNED_HASH: u32 = 0x2;
const LABEL: &[u8; 16] = b"larder\0\0\0\0\0\0\0\0\0\0";

/// The journal as the superblock repeats it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journal {
    pub(super) map: Root,
    pub(super) size: u64,
}

/// What the superblock says.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) uuid: [u8; 16],
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) inodes_per_group: u32,
    pub(super) free_inodes: u32,
    pub(super) journal: Option<Journal>,
}

impl Superblock {
    /// The 1024 bytes as `group` keeps them.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "halves of numbers, and group numbers, which have 32 bits"
    )]
    pub(super) fn encode(&self, group: u64) -> [u8; 1024] {
        let mut block = [0; 1024];
        let mut word = |at: usize, value: u32| put(&mut block, at, value.to_le_bytes());
        word(0x00, self.inodes_per_group * groups(self.blocks) as u32);
        word(0x04, self.blocks as u32);
        word(0x150, (self.blocks >> 32) as u32);
        word(0x0c, self.free_blocks as u32);
        word(0x158, (self.free_blocks >> 32) as u32);
        word(0x10, self.free_inodes);
        // Blocks and clusters of 1024 << 2 bytes.
        word(0x18, 2);
        word(0x1c, 2);
        word(0x20, GROUP as u32);
        word(0x24, GROUP as u32);
        word(0x28, self.inodes_per_group);
        word(0x4c, 1);
        word(0x54, FIRST_INODE);
        let journal = if self.journal.is_some() { COMPAT_HAS_JOURNAL } else { 0 };
        word(0x5c, journal | COMPAT_EXT_ATTR | COMPAT_DIR_INDEX);
        word(0x60, INCOMPAT);
        word(0x64, RO_COMPAT);
        word(0x100, DEFAULT_MOUNT_OPTIONS);
        word(0x160, FLAG_UNSIGNED_HASH);
        let mut half = |at: usize, value: u16| put(&mut block, at, value.to_le_bytes());
        // No limit on mounts between checks; clean; carry on after an error.
        half(0x36, 0xffff);
        half(0x38, 0xef53);
        half(0x3a, 1);
        half(0x3c, 1);
        half(0x58, INODE as u16);
        half(0x5a, group as u16);
        half(0xfe, DESCRIPTOR as u16);
        half(0x15c, 32);
        half(0x15e, 32);
        put(&mut block, 0x68, self.uuid);
        put(&mut block, 0x78, *LABEL);
        // Half-MD4; 16 groups a flex group; crc32c.
        put(&mut block, 0xfc, [1]);
        put(&mut block, 0x174, [4]);
        put(&mut block, 0x175, [1]);
        if let Some(journal) = &self.journal {
            put_journal(&mut block, journal);
        }
        let sum = raw(!0, &block[..0x3fc]);
        put(&mut block, 0x3fc, sum.to_le_bytes());
        block
    }
}

/// The journal's inode number, and a copy of where it is for e2fsck.
fn put_journal(block: &mut [u8; 1024], journal: &Journal) {
    put(block, 0xe0, JOURNAL_INODE.to_le_bytes());
    put(block, 0xfd, [1]);
    put(block, 0x10c, journal.map);
    let size = journal.size.to_le_bytes();
    put(block, 0x10c + 60, [size[4], size[5], size[6], size[7]]);
    put(block, 0x10c + 64, [size[0], size[1], size[2], size[3]]);
}

/// A group's descriptor.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) directories: u32,
    /// Inodes at the table's end that were never used.
    pub(super) unused_inodes: u32,
    pub(super) block_bitmap_sum: u32,
    pub(super) inode_bitmap_sum: u32,
}

/// The inode table is zeroed where it is not used.
const INODE_TABLE_ZEROED: u16 = 0x4;

impl Group {
    #[expect(clippy::cast_possible_truncation, reason = "low halves; the high ones follow")]
    pub(super) fn encode(&self, seed: Seed, number: u32) -> [u8; DESCRIPTOR as usize] {
        let mut bytes = [0; DESCRIPTOR as usize];
        for (low, high, value) in
            [(0x00, 0x20, self.block_bitmap), (0x04, 0x24, self.inode_bitmap), (0x08, 0x28, self.inode_table)]
        {
            put(&mut bytes, low, (value as u32).to_le_bytes());
            put(&mut bytes, high, ((value >> 32) as u32).to_le_bytes());
        }
        for (low, high, value) in [
            (0x0c, 0x2c, self.free_blocks),
            (0x0e, 0x2e, self.free_inodes),
            (0x10, 0x30, self.directories),
            (0x1c, 0x32, self.unused_inodes),
            (0x18, 0x38, self.block_bitmap_sum),
            (0x1a, 0x3a, self.inode_bitmap_sum),
        ] {
            put(&mut bytes, low, (value as u16).to_le_bytes());
            put(&mut bytes, high, ((value >> 16) as u16).to_le_bytes());
        }
        put(&mut bytes, 0x12, INODE_TABLE_ZEROED.to_le_bytes());
        seed.seal_group(number, &mut bytes);
        bytes
    }
}

/// The first block of an empty journal of `blocks` blocks (jbd2's superblock, version 2; big-endian).
pub(super) fn journal_superblock(blocks: u32, uuid: &[u8; 16]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    #[expect(clippy::cast_possible_truncation, reason = "4096")]
    let size = BLOCK as u32;
    // Magic; type; then block size, length, first block of the log and first transaction. The log starts at 0: it is empty.
    for (at, value) in
        [(0x00, 0xc03b_3998_u32), (0x04, 4), (0x0c, size), (0x10, blocks), (0x14, 1), (0x18, 1)]
    {
        put(&mut block, at, value.to_be_bytes());
    }
    put(&mut block, 0x30, *uuid);
    put(&mut block, 0x40, 1_u32.to_be_bytes());
    block
}
