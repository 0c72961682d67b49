//! Everything that is written after the content: directories, inodes, bitmaps, descriptors, and the superblock's copies.

use std::collections::HashMap;

use super::checksum::Seed;
use super::device::{BUFFER, Device, Target, WriteQueue};
use super::directory::{self, Entry, Place};
use super::extents::{self, Root};
use super::geometry::{
    GROUP, INODE, INODES_PER_BLOCK, MAX_INODES_PER_GROUP, descriptor_blocks, groups, has_superblock, rounded_up,
};
use super::inode::{self, Fields, Map, XATTR_ROOM};
use super::space::Space;
use super::superblock::{FIRST_INODE, Group, JOURNAL_INODE, Journal, Superblock, journal_superblock};
use super::volume::{Finished, full};
use super::xattr::{self, Refused};
use super::{BLOCK, BLOCK_U64, Ext4Error, entry_type, mode_type};
use crate::tree::{Attributes, Content, Extent, Kind, Node, NodeId, Tree};

/// The smallest journal that the kernel takes (`JBD2_MIN_JOURNAL_BLOCKS`): nothing is ever logged in it.
const JOURNAL_BLOCKS: u64 = 1024;
const ROOT_INODE: u32 = 2;
/// A directory with more links than this has the count 1 (`dir_nlink`).
const MAX_DIRECTORY_LINKS: usize = 65_000;
/// Where the superblock stands in block 0.
const SUPERBLOCK_OFFSET: usize = 1024;

/// The finishing of a file system: where to write, and what to call it.
pub(super) struct Plan<'a> {
    pub(super) device: &'a Device,
    pub(super) queue: &'a WriteQueue,
    pub(super) uuid: [u8; 16],
    pub(super) journal: bool,
}

/// Writes `bytes`, whole blocks of them, from block `first` on.
pub(super) fn write_blocks(queue: &WriteQueue, first: u64, bytes: &[u8]) -> Result<(), Ext4Error> {
    let mut offset = first * BLOCK_U64;
    for chunk in bytes.chunks(BUFFER) {
        let mut buffer = queue.buffer()?;
        buffer[..chunk.len()].copy_from_slice(chunk);
        queue.submit(buffer, chunk.len(), offset)?;
        offset += chunk.len() as u64;
    }
    Ok(())
}

/// A bit for every block.
struct Bitmap(Vec<u8>);

impl Bitmap {
    fn new(bits: u64) -> Self {
        Self(vec![0; usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX)])
    }

    fn set(&mut self, bits: std::ops::Range<u64>) {
        for bit in bits {
            #[expect(clippy::cast_possible_truncation, reason = "the bitmap is in memory")]
            let byte = (bit / 8) as usize;
            self.0[byte] |= 1 << (bit % 8);
        }
    }
}

/// The state of the finishing: inodes encoded so far, and the blocks that they and the rest occupy.
struct Writer<'a> {
    plan: &'a Plan<'a>,
    seed: Seed,
    space: Space,
    /// Encoded inodes, from number 1.
    inodes: Vec<inode::Bytes>,
    directories: Vec<u32>,
    used: Vec<std::ops::Range<u64>>,
    /// Extended attribute blocks by content, shared by the inodes that have the same.
    xattr_blocks: HashMap<Vec<u8>, (u64, u32)>,
}

/// An inode's part in a block of extended attributes may be shared by this many (`EXT4_XATTR_REFCOUNT_MAX`).
const MAX_XATTR_SHARERS: u32 = 1024;

impl Plan<'_> {
    /// Writes all metadata but block 0, and returns that block.
    pub(super) fn write(&self, tree: &Tree, space: Space) -> Result<(Finished, Vec<u8>), Ext4Error> {
        let mut writer = Writer {
            plan: self,
            seed: Seed::new(&self.uuid),
            space,
            inodes: vec![[0; INODE as usize]; FIRST_INODE as usize],
            directories: Vec::new(),
            used: Vec::new(),
            xattr_blocks: HashMap::new(),
        };
        writer.tree(tree)?;
        let journal = if self.journal { Some(writer.journal()?) } else { None };
        writer.xattr_blocks()?;
        writer.groups(journal)
    }
}

impl Writer<'_> {
    /// Numbers every node that has a name and writes it.
    fn tree(&mut self, tree: &Tree) -> Result<(), Ext4Error> {
        let mut numbers = vec![0_u32; tree.len()];
        let mut order = Vec::new();
        let mut next = FIRST_INODE + 1;
        for visit in tree.walk().filter(|visit| !visit.again) {
            let number = if visit.id == NodeId::ROOT { ROOT_INODE } else { next };
            next += u32::from(visit.id != NodeId::ROOT);
            numbers[visit.id.index()] = number;
            order.push(visit.id);
        }
        self.inodes.resize(next as usize - 1, [0; INODE as usize]);
        let mut parents = vec![ROOT_INODE; tree.len()];
        for id in &order {
            if let Some(directory) = tree.node(*id).directory() {
                for child in directory.entries.values() {
                    parents[child.index()] = numbers[id.index()];
                }
            }
        }
        for visit in tree.walk().filter(|visit| !visit.again) {
            let place = Place { inode: numbers[visit.id.index()], parent: parents[visit.id.index()] };
            self.node(tree, &numbers, visit.node, place).map_err(|error| error.at(&visit.path))?;
        }
        self.lost_and_found()
    }

    fn node(&mut self, tree: &Tree, numbers: &[u32], node: &Node, place: Place) -> Result<(), NodeError> {
        let number = place.inode;
        let root = number == ROOT_INODE;
        match &node.kind {
            Kind::Directory(directory) => {
                let mut entries: Vec<Entry<'_>> = directory
                    .entries
                    .iter()
                    .map(|(name, id)| Entry { name, inode: numbers[id.index()], kind: entry_type(&tree.node(*id).kind) })
                    .collect();
                if root {
                    entries.push(Entry { name: b"lost+found", inode: FIRST_INODE, kind: 2 });
                }
                self.directory(place, &node.attributes, &entries)
            }
            Kind::File(content) => {
                let blocks: u64 = content.extents.iter().map(|extent| u64::from(extent.length)).sum();
                self.used.extend(content.extents.iter().map(block_range));
                let map = self.map(number, &content.extents)?;
                self.inode(number, node, content.size, map, blocks)
            }
            Kind::Symlink(target) if target.len() < size_of::<Root>() => {
                let mut inline = [0; 60];
                inline[..target.len()].copy_from_slice(target);
                self.inode(number, node, target.len() as u64, (Map::Inline(inline), 0), 0)
            }
            Kind::Symlink(target) => {
                let extents = self.place_bytes(target)?;
                let map = self.map(number, &extents)?;
                self.inode(number, node, target.len() as u64, map, 1)
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                self.inode(number, node, 0, (Map::Device { major: *major, minor: *minor }, 0), 0)
            }
            Kind::Fifo => self.inode(number, node, 0, (Map::Nothing, 0), 0),
        }
    }

    fn inode(&mut self, number: u32, node: &Node, size: u64, map: (Map, u64), blocks: u64) -> Result<(), NodeError> {
        let links = u16::try_from(node.links).unwrap_or(u16::MAX);
        let fields = Draft { attributes: &node.attributes, mode_type: mode_type(&node.kind), size, links, indexed: false };
        self.finish_inode(number, &fields, map, blocks)
    }

    fn directory(&mut self, place: Place, attributes: &Attributes, entries: &[Entry<'_>]) -> Result<(), NodeError> {
        let blocks = directory::lay_out(self.seed, place, entries);
        let extents = self.place_bytes(&blocks.bytes)?;
        let map = self.map(place.inode, &extents)?;
        let subdirectories = entries.iter().filter(|entry| entry.kind == 2).count();
        let links = match subdirectories + 2 {
            links if links >= MAX_DIRECTORY_LINKS => 1,
            #[expect(clippy::cast_possible_truncation, reason = "below 65,000")]
            links => links as u16,
        };
        self.directories.push(place.inode);
        let size = blocks.bytes.len() as u64;
        let fields = Draft { attributes, mode_type: 0o040_000, size, links, indexed: blocks.indexed };
        self.finish_inode(place.inode, &fields, map, size / BLOCK_U64)
    }

    fn lost_and_found(&mut self) -> Result<(), Ext4Error> {
        let attributes = Attributes { mode: 0o700, ..Attributes::default() };
        let place = Place { inode: FIRST_INODE, parent: ROOT_INODE };
        self.directory(place, &attributes, &[]).map_err(|error| error.at(b"lost+found"))
    }

    /// An empty journal; every block is written, so that nothing old in it can be taken for a transaction.
    fn journal(&mut self) -> Result<Journal, Ext4Error> {
        let mut bytes = vec![0; usize::try_from(JOURNAL_BLOCKS).unwrap_or(0) * BLOCK];
        #[expect(clippy::cast_possible_truncation, reason = "1024")]
        let first = journal_superblock(JOURNAL_BLOCKS as u32, &self.plan.uuid);
        bytes[..BLOCK].copy_from_slice(&first);
        let attributes = Attributes { mode: 0o600, ..Attributes::default() };
        let size = bytes.len() as u64;
        let fields = Draft { attributes: &attributes, mode_type: 0o100_000, size, links: 1, indexed: false };
        let written = self.place_bytes(&bytes).and_then(|extents| {
            let map = self.map(JOURNAL_INODE, &extents)?;
            self.finish_inode(JOURNAL_INODE, &fields, map, JOURNAL_BLOCKS)?;
            Ok(map)
        });
        match written.map_err(|error| error.at(b"the journal"))? {
            (Map::Extents(map), _) => Ok(Journal { map, size }),
            _ => Err(full(&self.space)),
        }
    }

    fn finish_inode(&mut self, number: u32, draft: &Draft<'_>, map: (Map, u64), blocks: u64) -> Result<(), NodeError> {
        let Draft { attributes, mode_type, size, links, indexed } = *draft;
        let (map, tree_blocks) = map;
        let placed = match &attributes.xattrs {
            None => xattr::Placed::default(),
            Some(xattrs) => xattr::place(xattrs, attributes.mode, XATTR_ROOM)?,
        };
        let xattr_block = placed.block.map_or(Ok(0), |block| self.xattr_block(block))?;
        let fields = Fields {
            attributes,
            mode_type,
            size,
            links,
            map,
            blocks: blocks + tree_blocks + u64::from(xattr_block != 0),
            indexed,
            xattr_block,
            in_inode_xattrs: placed.in_inode,
        };
        self.inodes[number as usize - 1] = inode::encode(self.seed, number, &fields);
        Ok(())
    }

    /// The block that holds these extended attributes, which other inodes may share.
    fn xattr_block(&mut self, block: Vec<u8>) -> Result<u64, NodeError> {
        if let Some((place, sharers)) = self.xattr_blocks.get_mut(&block).filter(|(_, n)| *n < MAX_XATTR_SHARERS) {
            *sharers += 1;
            return Ok(*place);
        }
        let run = self.space.take_exactly(1).ok_or(NodeError::Full)?;
        let place = run.start;
        self.used.push(run);
        if let Some((full_place, sharers)) = self.xattr_blocks.insert(block.clone(), (place, 1)) {
            self.write_xattr_block(full_place, block, sharers)?;
        }
        Ok(place)
    }

    fn xattr_blocks(&mut self) -> Result<(), Ext4Error> {
        for (block, (place, sharers)) in std::mem::take(&mut self.xattr_blocks) {
            self.write_xattr_block(place, block, sharers)?;
        }
        Ok(())
    }

    fn write_xattr_block(&self, place: u64, mut block: Vec<u8>, sharers: u32) -> Result<(), Ext4Error> {
        super::put(&mut block, 4, sharers.to_le_bytes());
        self.seed.seal_xattr_block(place, &mut block);
        write_blocks(self.plan.queue, place, &block)
    }

    /// Writes `bytes` to blocks of their own.
    fn place_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Extent>, NodeError> {
        let mut extents = Vec::new();
        let (mut logical, mut rest) = (0, bytes);
        while !rest.is_empty() {
            // Below a group, so that an extent's 16-bit length holds it.
            let wanted = (rest.len().div_ceil(BLOCK) as u64).min(GROUP / 2);
            let run = self.space.take(wanted).ok_or(NodeError::Full)?;
            #[expect(clippy::cast_possible_truncation, reason = "at most half a group")]
            let length = (run.end - run.start) as u16;
            let (now, later) = rest.split_at(rest.len().min(usize::from(length) * BLOCK));
            if now.len().is_multiple_of(BLOCK) {
                write_blocks(self.plan.queue, run.start, now)?;
            } else {
                let mut padded = now.to_vec();
                padded.resize(usize::from(length) * BLOCK, 0);
                write_blocks(self.plan.queue, run.start, &padded)?;
            }
            extents.push(Extent { logical, length, physical: run.start });
            self.used.push(run);
            logical += u32::from(length);
            rest = later;
        }
        Ok(extents)
    }

    /// The extent tree of an inode, and how many blocks it took.
    fn map(&mut self, number: u32, extents: &[Extent]) -> Result<(Map, u64), NodeError> {
        let needed = extents::blocks_needed(extents.len());
        let mut places = Vec::with_capacity(needed);
        for _ in 0..needed {
            let run = self.space.take_exactly(1).ok_or(NodeError::Full)?;
            places.push(run.start);
            self.used.push(run);
        }
        let (root, blocks) = extents::build(self.seed, number, extents, &places);
        for (place, block) in blocks {
            write_blocks(self.plan.queue, place, &block)?;
        }
        Ok((Map::Extents(root), needed as u64))
    }

    /// Chooses the number of groups, and writes their tables, bitmaps and descriptors; returns block 0.
    fn groups(mut self, journal: Option<Journal>) -> Result<(Finished, Vec<u8>), Ext4Error> {
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
            uuid: self.plan.uuid,
            blocks: layout.blocks,
            free_blocks: layout.blocks - used_blocks,
            inodes_per_group,
            free_inodes,
            journal,
        };
        let first = self.write_copies(&superblock, &descriptors, count)?;
        let finished = Finished {
            size: layout.blocks * BLOCK_U64,
            used: used_blocks * BLOCK_U64,
            inodes: self.inodes.len() as u64,
        };
        Ok((finished, first))
    }

    /// Finds the smallest file system (or, on a device, one of its size) that has room for bitmaps and inode tables.
    fn layout(&mut self) -> Result<Layout, Ext4Error> {
        let inodes = self.inodes.len() as u64;
        let fixed = match self.plan.device.target() {
            Target::File => None,
            Target::Device(_) => Some(self.space.limit()),
        };
        let mut count = fixed.map_or_else(|| groups(self.space.end()), groups).max(1);
        loop {
            let per_group = inodes.div_ceil(count).next_multiple_of(INODES_PER_BLOCK);
            let mut space = self.space.clone();
            let tables = (per_group <= MAX_INODES_PER_GROUP).then(|| tables(&mut space, count, per_group)).flatten();
            let blocks = fixed.unwrap_or_else(|| rounded_up(space.end()));
            match (tables, fixed) {
                (Some(tables), _) if groups(blocks) <= count => {
                    let blocks = blocks.max((count - 1) * GROUP + 1);
                    #[expect(clippy::cast_possible_truncation, reason = "at most 32,768")]
                    let inodes_per_group = per_group as u32;
                    return Ok(Layout { blocks: fixed.unwrap_or_else(|| rounded_up(blocks)), inodes_per_group, tables });
                }
                (None, Some(_)) if per_group > MAX_INODES_PER_GROUP => return Err(Ext4Error::Inodes { inodes }),
                (None, None) if per_group > MAX_INODES_PER_GROUP => count += 1,
                (None, _) => return Err(full(&self.space)),
                (Some(_), _) => count += 1,
            }
        }
    }

    fn write_groups(&self, layout: &Layout, bitmap: &Bitmap) -> Result<Vec<u8>, Ext4Error> {
        let per_group = layout.inodes_per_group;
        let mut descriptors = Vec::new();
        for ((number, table), blocks) in (0_u32..).zip(&layout.tables).zip(bitmap.0.chunks(BLOCK)) {
            let first = (number * per_group) as usize;
            let inodes = self.inodes.get(first..self.inodes.len().min(first + per_group as usize)).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "at most 32,768")]
            let used = inodes.len() as u32;
            let mut inode_bitmap = Bitmap::new(GROUP);
            inode_bitmap.set(0..u64::from(used));
            inode_bitmap.set(u64::from(per_group)..GROUP);
            let in_group = |inode: &&u32| (**inode - 1) / per_group == number;
            let group = Group {
                block_bitmap: table.block_bitmap.start,
                inode_bitmap: table.inode_bitmap.start,
                inode_table: table.inodes.start,
                free_blocks: blocks.iter().map(|byte| byte.count_zeros()).sum(),
                free_inodes: per_group - used,
                #[expect(clippy::cast_possible_truncation, reason = "at most 32,768")]
                directories: self.directories.iter().filter(in_group).count() as u32,
                unused_inodes: per_group - used,
                block_bitmap_sum: self.seed.of(blocks),
                inode_bitmap_sum: self.seed.of(&inode_bitmap.0[..per_group as usize / 8]),
            };
            descriptors.extend(group.encode(self.seed, number));
            write_blocks(self.plan.queue, table.block_bitmap.start, blocks)?;
            write_blocks(self.plan.queue, table.inode_bitmap.start, &inode_bitmap.0)?;
            let mut bytes = inodes.concat();
            bytes.resize(per_group as usize * INODE as usize, 0);
            write_blocks(self.plan.queue, table.inodes.start, &bytes)?;
        }
        descriptors.resize(descriptors.len().next_multiple_of(BLOCK), 0);
        Ok(descriptors)
    }

    /// Writes superblock and descriptors of every group that keeps them, except block 0, which is returned.
    fn write_copies(&self, superblock: &Superblock, descriptors: &[u8], count: u64) -> Result<Vec<u8>, Ext4Error> {
        let mut first = vec![0; BLOCK];
        first[SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET * 2].copy_from_slice(&superblock.encode(0));
        write_blocks(self.plan.queue, 1, descriptors)?;
        for group in (1..count).filter(|group| has_superblock(*group)) {
            let mut copy = superblock.encode(group).to_vec();
            copy.resize(BLOCK, 0);
            copy.extend(descriptors);
            write_blocks(self.plan.queue, group * GROUP, &copy)?;
        }
        Ok(first)
    }
}

/// An inode's fields before its extended attributes have their place.
struct Draft<'a> {
    attributes: &'a Attributes,
    mode_type: u16,
    size: u64,
    links: u16,
    indexed: bool,
}

/// The number of blocks, and where each group's tables are.
struct Layout {
    blocks: u64,
    inodes_per_group: u32,
    tables: Vec<Table>,
}

struct Table {
    block_bitmap: std::ops::Range<u64>,
    inode_bitmap: std::ops::Range<u64>,
    inodes: std::ops::Range<u64>,
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

fn block_range(extent: &Extent) -> std::ops::Range<u64> {
    extent.physical..extent.physical + u64::from(extent.length)
}

/// What went wrong with one node; its path is added where it is known.
enum NodeError {
    Full,
    Xattrs(Refused),
    Write(Ext4Error),
}

impl NodeError {
    fn at(self, path: &[u8]) -> Ext4Error {
        let path = String::from_utf8_lossy(path).into_owned();
        match self {
            Self::Full => Ext4Error::Full { available: larder_core::ByteSize(0) },
            Self::Xattrs(Refused::TooLarge) => Ext4Error::Xattrs { path },
            Self::Xattrs(Refused::Acl) => Ext4Error::Acl { path },
            Self::Write(error) => error,
        }
    }
}

impl From<Refused> for NodeError {
    fn from(refused: Refused) -> Self {
        Self::Xattrs(refused)
    }
}

impl From<Ext4Error> for NodeError {
    fn from(error: Ext4Error) -> Self {
        Self::Write(error)
    }
}
