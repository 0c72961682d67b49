//! crc32c as ext4 uses it (`metadata_csum`): seeded, and without the final inversion.

use super::put;

/// The file system's seed, from its UUID; every metadata checksum starts from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u32);

/// `crc32c(seed, bytes)` without the inversions that the usual definition puts at both ends.
pub(super) fn raw(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

impl Seed {
    pub(super) fn new(uuid: &[u8; 16]) -> Self {
        Self(raw(!0, uuid))
    }

    /// A seed that the superblock holds itself (`metadata_csum_seed`).
    pub(super) fn stored(seed: u32) -> Self {
        Self(seed)
    }

    pub(super) fn of(self, bytes: &[u8]) -> u32 {
        raw(self.0, bytes)
    }

    /// The seed of what belongs to an inode that this crate wrote: its generation is 0.
    pub(super) fn inode(self, number: u32) -> u32 {
        self.inode_of(number, 0)
    }

    /// The seed of what belongs to one inode: its number and generation.
    pub(super) fn inode_of(self, number: u32, generation: u32) -> u32 {
        raw(self.of(&number.to_le_bytes()), &generation.to_le_bytes())
    }

    /// Fills in the checksum of an extended attribute block at `h_checksum`.
    pub(super) fn seal_xattr_block(self, block_number: u64, block: &mut [u8]) {
        put(block, 16, 0_u32.to_le_bytes());
        let sum = raw(self.of(&block_number.to_le_bytes()), block);
        put(block, 16, sum.to_le_bytes());
    }

    /// Fills in `i_checksum_lo` and `i_checksum_hi` of a 256-byte inode.
    pub(super) fn seal_inode(self, number: u32, inode: &mut [u8]) {
        put(inode, 0x7c, [0; 2]);
        put(inode, 0x82, [0; 2]);
        let [a, b, c, d] = raw(self.inode(number), inode).to_le_bytes();
        put(inode, 0x7c, [a, b]);
        put(inode, 0x82, [c, d]);
    }

    /// Fills in `bg_checksum` of a 64-byte group descriptor.
    pub(super) fn seal_group(self, group: u32, descriptor: &mut [u8]) {
        put(descriptor, 0x1e, [0; 2]);
        let [low, high, ..] = raw(self.of(&group.to_le_bytes()), descriptor).to_le_bytes();
        put(descriptor, 0x1e, [low, high]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn raw_is_crc32c_without_inversions() {
        // The check value of CRC-32C ("123456789") is 0xe3069283.
        assert_eq!(!super::raw(!0, b"123456789"), 0xe306_9283);
    }
}
