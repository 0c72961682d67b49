//! Which blocks are in use, as the groups' bitmaps say.

use std::ops::Range;

use super::FileSystem;
use super::check::sum_matches;
use super::error::{Object, ReadError};
use super::superblock::Checksums;

impl FileSystem {
    /// The bytes in use in a group, in ascending runs. A group whose bitmap was never written has nothing that anybody reads.
    pub(crate) fn allocated(&self, group: u64) -> Result<Vec<Range<u64>>, ReadError> {
        let blocks = self.superblock.group_blocks(group);
        let length = usize::try_from(blocks.end - blocks.start).unwrap_or(usize::MAX);
        let block_size = self.superblock.block_size as u64;
        let bytes = |run: Range<usize>| {
            let at = |bit: usize| (blocks.start + bit as u64) * block_size;
            at(run.start)..at(run.end)
        };
        Ok(runs(&self.block_bitmap(group)?, length).into_iter().map(bytes).collect())
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> u64 {
        self.superblock.groups()
    }

    /// The bitmap of a group; empty where it was never written.
    fn block_bitmap(&self, number: u64) -> Result<Vec<u8>, ReadError> {
        let group = self.group(number)?;
        if group.blocks_uninitialised {
            return Ok(Vec::new());
        }
        let bitmap = self.block(group.block_bitmap)?;
        let superblock = &self.superblock;
        let covered =
            usize::try_from(superblock.blocks_per_group / 8).unwrap_or(usize::MAX).min(bitmap.len());
        if let Checksums::All(seed) = superblock.checksums
            && !sum_matches(seed.of(&bitmap[..covered]), group.block_bitmap_sum, superblock.descriptor_size)
        {
            return Err(ReadError::Checksum(Object::BlockBitmap(number)));
        }
        Ok(bitmap)
    }
}

/// The runs of set bits among the first `length`.
fn runs(bitmap: &[u8], length: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for bit in 0..length.min(bitmap.len() * 8) {
        if bitmap[bit / 8] & 1 << (bit % 8) == 0 {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == bit => run.end += 1,
            _ => runs.push(bit..bit + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_bits_become_runs_and_those_beyond_the_end_do_not_count() {
        assert_eq!(runs(&[0b1000_0001, 0b0000_0111, 0xff], 18), [0..1, 7..11, 16..18]);
        assert_eq!(runs(&[0xff, 0xff], 10).first(), Some(&(0..10)));
        assert_eq!(runs(&[], 16), []);
    }
}
