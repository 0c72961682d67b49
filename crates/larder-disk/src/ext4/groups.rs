//! The last step: block groups with their bitmaps, inode tables and descriptors, and the copies of the superblock.

use std::ops::Range;

use super::checksum::Seed;
use super::device::Appender;
use super::geometry::{
    GROUP, INODE, INODES_PER_BLOCK, MAX_INODES_PER_GROUP, descriptor_blocks, groups, has_superblock,
    rounded_up,
};
use super::inode;
use super::nodes::Nodes;
use super::space::Space;
use super::superblock::{Group, Journal, Superblock};
use super::volume::{Finished, Sizing, full};
use super::{BLOCK, BLOCK_U64, Ext4Error};

/// Where the superblock stands in block 0.
const SUPERBLOCK_OFFSET: usize = 1024;

/// Everything that the groups are made from.
pub(super) struct Groups<'a> {
    out: Appender<'a>,
    sizing: Sizing,
    uuid: [u8; 16],
    seed: Seed,
    space: Space,
    inodes: Vec<inode::Bytes>,
    /// Numbers of the inodes that are directories.
    directories: Vec<u32>,
    used: Vec<Range<u64>>,
    journal: Option<Journal>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(nodes: Nodes<'a>, sizing: Sizing, uuid: [u8; 16], journal: Option<Journal>) -> Self {
        let Nodes { out, seed, space, inodes, directories, used, .. } = nodes;
        Self { out, sizing, uuid, seed, space, inodes, directories, used, journal }
    }

    /// Chooses the number of groups, and writes their tables, bitmaps and descriptors; returns block 0.
    pub(super) fn write(mut self) -> Result<(Finished, Vec<u8>), Ext4Error> {
        let layout = self.layout()?;
        for table in &layout.tables {
            self.used.extend([table.block_bitmap.clone(), table.inode_bitmap.clone(), table.inodes.clone()]);
        }
        let count = layout.tables.len() as u64;
        for group in (0..count).filter(|group| has_superblock(*group)) {
            self.used.push(group * GROUP..group * GROUP + 1 + descriptor_blocks(count));
        }
        let mut bitmap = Bitmap::new(count * GROUP);
        let mut used_blocks = 0;
        for run in &self.used {
            used_blocks += run.end - run.start;
            bitmap.set(run.clone());
        }
        // What lies beyond the end counts as used.
        bitmap.set(layout.blocks..count * GROUP);
        let descriptors = self.write_groups(&layout, &bitmap)?;
        let inodes_per_group = layout.inodes_per_group;
        #[expect(clippy::cast_possible_truncation, reason = "inode numbers have 32 bits")]
        let free_inodes = inodes_per_group * count as u32 - self.inodes.len() as u32;
        let superblock = Superblock {
            uuid: self.uuid,
            blocks: layout.blocks,
            free_blocks: layout.blocks - used_blocks,
            inodes_per_group,
            free_inodes,
            journal: self.journal,
        };
        let first = self.write_copies(&superblock, &descriptors, count)?;
        self.out.flush()?;
        let finished = Finished {
            size: layout.blocks * BLOCK_U64,
            used: used_blocks * BLOCK_U64,
            inodes: self.inodes.len() as u64,
        };
        Ok((finished, first))
    }

    /// Finds the smallest file system (or one of the size that was asked for) that has room for bitmaps and inode tables.
    fn layout(&mut self) -> Result<Layout, Ext4Error> {
        let inodes = self.inodes.len() as u64;
        let (fixed, headroom) = match self.sizing {
            Sizing::Needed { headroom } => (None, headroom.div_ceil(BLOCK_U64)),
            Sizing::Fixed(_) => (Some(self.space.limit()), 0),
        };
        let mut count = fixed.map_or_else(|| groups(self.space.end() + headroom), groups).max(1);
        loop {
            let per_group = inodes.div_ceil(count).next_multiple_of(INODES_PER_BLOCK);
            let mut space = self.space.clone();
            let tables =
                (per_group <= MAX_INODES_PER_GROUP).then(|| tables(&mut space, count, per_group)).flatten();
            let blocks = fixed.unwrap_or_else(|| rounded_up(space.end() + headroom));
            match (tables, fixed) {
                (Some(tables), _) if groups(blocks) <= count => {
                    let blocks = blocks.max((count - 1) * GROUP + 1);
                    #[expect(clippy::cast_possible_truncation, reason = "at most 32,768")]
                    let inodes_per_group = per_group as u32;
                    return Ok(Layout {
                        blocks: fixed.unwrap_or_else(|| rounded_up(blocks)),
                        inodes_per_group,
                        tables,
                    });
                }
                (None, Some(_)) if per_group > MAX_INODES_PER_GROUP => {
                    return Err(Ext4Error::Inodes { inodes });
                }
                (None, None) if per_group > MAX_INODES_PER_GROUP => count += 1,
                (None, _) => return Err(full(&self.space)),
                (Some(_), _) => count += 1,
            }
        }
    }

    fn write_groups(&mut self, layout: &Layout, bitmap: &Bitmap) -> Result<Vec<u8>, Ext4Error> {
        let per_group = layout.inodes_per_group;
        let mut descriptors = Vec::new();
        let mut directories = vec![0; layout.tables.len()];
        for inode in &self.directories {
            directories[((inode - 1) / per_group) as usize] += 1;
        }
        for ((number, table), blocks) in (0_u32..).zip(&layout.tables).zip(bitmap.0.chunks(BLOCK)) {
            let first = (number * per_group) as usize;
            let inodes =
                self.inodes.get(first..self.inodes.len().min(first + per_group as usize)).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "at most 32,768")]
            let used = inodes.len() as u32;
            let mut inode_bitmap = Bitmap::new(GROUP);
            inode_bitmap.set(0..u64::from(used));
            inode_bitmap.set(u64::from(per_group)..GROUP);
            let group = Group {
                block_bitmap: table.block_bitmap.start,
                inode_bitmap: table.inode_bitmap.start,
                inode_table: table.inodes.start,
                free_blocks: blocks.iter().map(|byte| byte.count_zeros()).sum(),
                free_inodes: per_group - used,
                directories: directories[number as usize],
                unused_inodes: per_group - used,
                block_bitmap_sum: self.seed.of(blocks),
                inode_bitmap_sum: self.seed.of(&inode_bitmap.0[..per_group as usize / 8]),
            };
            descriptors.extend(group.encode(self.seed, number));
            self.out.put(table.block_bitmap.start * BLOCK_U64, blocks)?;
            self.out.put(table.inode_bitmap.start * BLOCK_U64, &inode_bitmap.0)?;
            let mut bytes = inodes.concat();
            bytes.resize(per_group as usize * INODE, 0);
            self.out.put(table.inodes.start * BLOCK_U64, &bytes)?;
        }
        descriptors.resize(descriptors.len().next_multiple_of(BLOCK), 0);
        Ok(descriptors)
    }

    /// Writes superblock and descriptors of every group that keeps them, except block 0, which is returned.
    fn write_copies(
        &mut self,
        superblock: &Superblock,
        descriptors: &[u8],
        count: u64,
    ) -> Result<Vec<u8>, Ext4Error> {
        let mut first = vec![0; BLOCK];
        first[SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET * 2].copy_from_slice(&superblock.encode(0));
        self.out.put(BLOCK_U64, descriptors)?;
        for group in (1..count).filter(|group| has_superblock(*group)) {
            let mut copy = superblock.encode(group).to_vec();
            copy.resize(BLOCK, 0);
            copy.extend(descriptors);
            self.out.put(group * GROUP * BLOCK_U64, &copy)?;
        }
        Ok(first)
    }
}

/// The number of blocks, and where each group's tables are.
struct Layout {
    blocks: u64,
    inodes_per_group: u32,
    tables: Vec<Table>,
}

struct Table {
    block_bitmap: Range<u64>,
    inode_bitmap: Range<u64>,
    inodes: Range<u64>,
}

fn tables(space: &mut Space, count: u64, inodes_per_group: u64) -> Option<Vec<Table>> {
    let table = |_| {
        Some(Table {
            block_bitmap: space.take_exactly(1)?,
            inode_bitmap: space.take_exactly(1)?,
            inodes: space.take_exactly(inodes_per_group / INODES_PER_BLOCK)?,
        })
    };
    (0..count).map(table).collect()
}

/// A bit for every block.
struct Bitmap(Vec<u8>);

impl Bitmap {
    fn new(bits: u64) -> Self {
        Self(vec![0; usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX)])
    }

    fn set(&mut self, bits: Range<u64>) {
        for bit in bits {
            let byte = (bit / 8) as usize;
            self.0[byte] |= 1 << (bit % 8);
        }
    }
}
