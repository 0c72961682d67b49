//! Which blocks are somebody's: a bit for every block, in memory only for groups that have any.

use std::ops::Range;

use crate::ext4::read::superblock::Superblock;

/// The blocks that were claimed so far.
pub(super) struct Claims {
    first: u64,
    per_group: u64,
    groups: Vec<Group>,
}

#[derive(Clone, Default)]
struct Group {
    bits: Box<[u8]>,
    count: u64,
    /// Of these, claimed by the groups themselves.
    metadata: u64,
}

impl Claims {
    pub(super) fn new(superblock: &Superblock) -> Self {
        let groups = usize::try_from(superblock.groups()).unwrap_or(0);
        Self {
            first: superblock.first_block,
            per_group: superblock.blocks_per_group,
            groups: vec![Group::default(); groups],
        }
    }

    /// Claims `blocks`; returns the first of them that was claimed before.
    pub(super) fn claim(&mut self, blocks: Range<u64>) -> Option<u64> {
        let mut taken = None;
        for block in blocks {
            let index = block.saturating_sub(self.first);
            let (group, bit) = (index / self.per_group, index % self.per_group);
            let Some(group) = usize::try_from(group).ok().and_then(|group| self.groups.get_mut(group)) else {
                continue;
            };
            if group.bits.is_empty() {
                group.bits = vec![0; usize::try_from(self.per_group / 8).unwrap_or(0)].into();
            }
            let byte = usize::try_from(bit / 8).ok().and_then(|byte| group.bits.get_mut(byte));
            let Some(byte) = byte else { continue };
            let mask = 1 << (bit % 8);
            if *byte & mask != 0 {
                taken = taken.or(Some(block));
            } else {
                *byte |= mask;
                group.count += 1;
            }
        }
        taken
    }

    /// What is claimed until now is the groups' own.
    pub(super) fn seal_metadata(&mut self) {
        for group in &mut self.groups {
            group.metadata = group.count;
        }
    }

    /// The bits of a group; empty where none is set.
    pub(super) fn bits(&self, group: usize) -> &[u8] {
        self.groups.get(group).map_or(&[], |group| &group.bits)
    }

    /// Blocks of a group that are claimed, and how many of them are the groups' own.
    pub(super) fn counts(&self, group: usize) -> (u64, u64) {
        self.groups.get(group).map_or((0, 0), |group| (group.count, group.metadata))
    }
}
