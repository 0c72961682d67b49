//! Block bitmaps, compared with the blocks that are really somebody's.

use super::Check;
use super::inodes::sum_matches;
use crate::ext4::read::error::{Object, ReadError};
use crate::ext4::read::groups::Group;
use crate::ext4::read::superblock::Checksums;

impl Check<'_> {
    pub(super) fn bitmaps(&mut self) {
        let (complete, mut free) = (self.is_complete(), 0);
        for (number, group) in (0..).zip(self.groups.clone()) {
            let Some(group) = group else { continue };
            let (index, blocks) = (number, self.fs.superblock.group_blocks(number as u64));
            let length = blocks.end - blocks.start;
            let (claimed, metadata) = self.claims.counts(index);
            free += length - claimed.min(length);
            let object = Object::BlockBitmap(number as u64);
            if group.blocks_uninitialised {
                if claimed != metadata {
                    self.damaged(object, "it was never written, but blocks of the group are in use");
                }
            } else {
                let compared = self.block_bitmap(index, object, &group, blocks.start, length);
                self.findings.note(compared);
            }
            if complete && u64::from(group.free_blocks) + claimed != length {
                self.damaged(Object::Group(number as u64), "its count of free blocks is wrong");
            }
        }
        if complete && free != self.fs.superblock.free_blocks {
            self.damaged(Object::Superblock, "its count of free blocks is wrong");
        }
    }

    fn block_bitmap(
        &self,
        index: usize,
        object: Object,
        group: &Group,
        first: u64,
        length: u64,
    ) -> Result<(), ReadError> {
        let superblock = &self.fs.superblock;
        let bitmap = self.fs.block(group.block_bitmap)?;
        let covered =
            usize::try_from(superblock.blocks_per_group / 8).unwrap_or(usize::MAX).min(bitmap.len());
        if let Checksums::All(seed) = superblock.checksums
            && !sum_matches(seed.of(&bitmap[..covered]), group.block_bitmap_sum, superblock.descriptor_size)
        {
            return Err(ReadError::Checksum(object));
        }
        let claims = self.claims.bits(index);
        let wanted = |bit: u64| {
            let byte = usize::try_from(bit / 8).ok().and_then(|byte| claims.get(byte));
            bit >= length || byte.is_some_and(|byte| byte & 1 << (bit % 8) != 0)
        };
        let complete = self.is_complete();
        for (at, byte) in (0_u64..).zip(&bitmap) {
            for bit in at * 8..at * 8 + 8 {
                let marked = byte & 1 << (bit % 8) != 0;
                let block = first + bit;
                match (marked, wanted(bit)) {
                    (false, true) if bit >= length => {
                        return Err(ReadError::damaged(object, "bits beyond its end are not set"));
                    }
                    (false, true) => {
                        return Err(ReadError::damaged(
                            object,
                            format!("block {block} is in use, and marked free"),
                        ));
                    }
                    (true, false) if complete => {
                        let what = format!("block {block} is nobody's, and marked as in use");
                        return Err(ReadError::damaged(object, what));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
