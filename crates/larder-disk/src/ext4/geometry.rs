//! Where ext4 puts things for a given number of blocks: groups, and the copies of superblock and descriptors.

use super::BLOCK_U64;

/// Blocks in a group: what one bitmap block counts.
pub(super) const GROUP: u64 = BLOCK_U64 * 8;
/// Bytes of a group descriptor with the 64bit feature.
pub(super) const DESCRIPTOR: u64 = 64;
/// Inodes that one bitmap block counts.
pub(super) const MAX_INODES_PER_GROUP: u64 = BLOCK_U64 * 8;
/// Bytes of an inode.
pub(super) const INODE: usize = 256;
/// Inodes in a block of the inode table.
pub(super) const INODES_PER_BLOCK: u64 = BLOCK_U64 / INODE as u64;

/// Whether `group` has a copy of the superblock (`sparse_super`): 0, 1 and the powers of 3, 5 and 7.
pub(super) fn has_superblock(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || [3, 5, 7].into_iter().any(power_of)
}

/// Blocks of group descriptors for `groups` groups.
pub(super) fn descriptor_blocks(groups: u64) -> u64 {
    (groups * DESCRIPTOR).div_ceil(BLOCK_U64)
}

/// Groups of a file system of `blocks` blocks.
pub(super) fn groups(blocks: u64) -> u64 {
    blocks.div_ceil(GROUP)
}

/// The smallest last group that mke2fs accepts beyond its copies; a shorter tail is left unused.
const MIN_LAST_GROUP: u64 = 64;

/// The largest number of blocks, at most `blocks`, whose last group is not too short to be one.
pub(super) fn usable(blocks: u64) -> u64 {
    let tail = blocks % GROUP;
    let overhead = 1 + descriptor_blocks(groups(blocks));
    if tail != 0 && blocks > GROUP && tail < overhead + MIN_LAST_GROUP { blocks - tail } else { blocks }
}

/// The smallest number of blocks, at least `blocks`, whose last group is not too short to be one.
pub(super) fn rounded_up(blocks: u64) -> u64 {
    if usable(blocks) == blocks {
        return blocks;
    }
    blocks - blocks % GROUP + 1 + descriptor_blocks(groups(blocks)) + MIN_LAST_GROUP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_in_the_groups_that_the_kernel_expects() {
        let copies: Vec<u64> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(copies, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn a_last_group_is_never_too_short() {
        for blocks in [1, 100, GROUP, GROUP + 1, GROUP + 65, GROUP + 66, 2 * GROUP + 10] {
            assert_eq!(usable(rounded_up(blocks)), rounded_up(blocks), "{blocks}");
            assert!(usable(blocks) <= blocks && rounded_up(blocks) >= blocks);
        }
        assert_eq!(usable(GROUP + 1), GROUP);
    }
}
