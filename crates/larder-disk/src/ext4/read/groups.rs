//! Group descriptors.

use super::bytes::{joined, u16_at, u32_at};
use super::error::{Object, ReadError};
use super::superblock::{Checksums, Superblock};

const INODE_UNINIT: u16 = 0x1;
const BLOCK_UNINIT: u16 = 0x2;
const CHECKSUM_AT: usize = 0x1e;

/// A group's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The block bitmap was never written: nothing but the group's own metadata is in use.
    pub(super) blocks_uninitialised: bool,
    /// The inode bitmap was never written: no inode is in use.
    pub(super) inodes_uninitialised: bool,
}

impl Group {
    /// Reads the descriptor of group `number`, checks it, and that what it points to is within the file system.
    pub(super) fn parse(superblock: &Superblock, number: u64, bytes: &[u8]) -> Result<Self, ReadError> {
        let object = Object::Group(number);
        if !checksum_is_right(superblock, number, bytes) {
            return Err(ReadError::Checksum(object));
        }
        let wide = superblock.descriptor_size >= 64;
        let high = |at| if wide { u32_at(bytes, at) } else { 0 };
        let high_half = |at| if wide { u32::from(u16_at(bytes, at)) << 16 } else { 0 };
        let count = |low: usize, at: usize| u32::from(u16_at(bytes, low)) | high_half(at);
        let flags = if superblock.has_uninitialised_groups() { u16_at(bytes, 0x12) } else { 0 };
        let group = Self {
            block_bitmap: joined(u32_at(bytes, 0x00), high(0x20)),
            inode_bitmap: joined(u32_at(bytes, 0x04), high(0x24)),
            inode_table: joined(u32_at(bytes, 0x08), high(0x28)),
            free_blocks: count(0x0c, 0x2c),
            free_inodes: count(0x0e, 0x2e),
            directories: count(0x10, 0x30),
            unused_inodes: if superblock.has_uninitialised_groups() { count(0x1c, 0x32) } else { 0 },
            block_bitmap_sum: count(0x18, 0x38),
            inode_bitmap_sum: count(0x1a, 0x3a),
            blocks_uninitialised: flags & BLOCK_UNINIT != 0,
            inodes_uninitialised: flags & INODE_UNINIT != 0,
        };
        let blocks = superblock.first_block..superblock.blocks;
        let table_end = group.inode_table.checked_add(superblock.inode_table_blocks() - 1);
        let places = [Some(group.block_bitmap), Some(group.inode_bitmap), Some(group.inode_table), table_end];
        if places.iter().any(|place| !place.is_some_and(|place| blocks.contains(&place))) {
            return Err(ReadError::damaged(object, "it points beyond the file system"));
        }
        if group.unused_inodes > superblock.inodes_per_group {
            return Err(ReadError::damaged(object, "it counts more unused inodes than there are"));
        }
        Ok(group)
    }

    /// Whether both describe the same places; counts and flags change, and copies are left behind.
    pub(super) fn is_where(&self, other: &Self) -> bool {
        (self.block_bitmap, self.inode_bitmap, self.inode_table)
            == (other.block_bitmap, other.inode_bitmap, other.inode_table)
    }
}

fn checksum_is_right(superblock: &Superblock, number: u64, bytes: &[u8]) -> bool {
    let Ok(number) = u32::try_from(number) else { return false };
    let stored = u16_at(bytes, CHECKSUM_AT);
    match superblock.checksums {
        Checksums::Absent => true,
        Checksums::Groups => {
            let sum = crc16(crc16(!0, &superblock.uuid), &number.to_le_bytes());
            let (before, behind) = (bytes.get(..CHECKSUM_AT), bytes.get(CHECKSUM_AT + 2..));
            before.zip(behind).is_some_and(|(before, behind)| crc16(crc16(sum, before), behind) == stored)
        }
        Checksums::All(seed) => {
            let mut sealed = bytes.to_vec();
            seed.seal_group(number, &mut sealed);
            u16_at(&sealed, CHECKSUM_AT) == stored
        }
    }
}

/// CRC-16 with the reflected polynomial 0xa001, as `uninit_bg` uses it.
fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc16_has_its_check_value() {
        // CRC-16/MODBUS, which starts from all ones: "123456789" gives 0x4b37.
        assert_eq!(super::crc16(!0, b"123456789"), 0x4b37);
    }
}
