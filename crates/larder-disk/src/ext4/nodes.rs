//! Inodes: every node that has a name gets a number, its directory blocks, extent tree and extended attributes, and its record.

use std::collections::HashMap;
use std::ops::Range;

use super::checksum::Seed;
use super::device::{Appender, WriteQueue};
use super::directory::{self, Entry, Place};
use super::extents::{self, Root};
use super::geometry::{GROUP, INODE};
use super::inode::{self, Fields, Map, XATTR_ROOM};
use super::space::Space;
use super::superblock::{FIRST_INODE, JOURNAL_INODE, Journal, journal_superblock};
use super::volume::full;
use super::xattr::{self, Refused};
use super::{BLOCK, BLOCK_U64, Ext4Error, entry_type, mode_type};
use crate::tree::{Attributes, Extent, Kind, Node, NodeId, Tree};

/// The smallest journal that the kernel takes (`JBD2_MIN_JOURNAL_BLOCKS`): nothing is ever logged in it.
const JOURNAL_BLOCKS: u64 = 1024;
const ROOT_INODE: u32 = 2;
/// A directory with more links than this has the count 1 (`dir_nlink`).
const MAX_DIRECTORY_LINKS: usize = 65_000;
/// A block of extended attributes may be shared by this many inodes (`EXT4_XATTR_REFCOUNT_MAX`).
const MAX_XATTR_SHARERS: u32 = 1024;

/// Inodes encoded so far, and the blocks that they occupy.
pub(super) struct Nodes<'a> {
    pub(super) out: Appender<'a>,
    pub(super) seed: Seed,
    pub(super) space: Space,
    /// Encoded inodes, from number 1.
    pub(super) inodes: Vec<inode::Bytes>,
    /// Numbers of the inodes that are directories.
    pub(super) directories: Vec<u32>,
    pub(super) used: Vec<Range<u64>>,
    /// Extended attribute blocks by content, with the number of inodes that share them.
    xattr_blocks: HashMap<Vec<u8>, (u64, u32)>,
}

impl<'a> Nodes<'a> {
    /// Writes all nodes of `tree`, and the journal's where there is to be one.
    pub(super) fn write(
        tree: &Tree,
        queue: &'a WriteQueue,
        space: Space,
        uuid: &[u8; 16],
        journal: bool,
    ) -> Result<(Self, Option<Journal>), Ext4Error> {
        let mut nodes = Self {
            out: Appender::new(queue),
            seed: Seed::new(uuid),
            space,
            inodes: vec![[0; INODE]; FIRST_INODE as usize],
            directories: Vec::new(),
            used: Vec::new(),
            xattr_blocks: HashMap::new(),
        };
        nodes.tree(tree)?;
        let journal = if journal { Some(nodes.journal(uuid)?) } else { None };
        nodes.shared_xattr_blocks()?;
        Ok((nodes, journal))
    }

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
        self.inodes.resize(next as usize - 1, [0; INODE]);
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
                    .map(|(name, id)| Entry {
                        name,
                        inode: numbers[id.index()],
                        kind: entry_type(&tree.node(*id).kind),
                    })
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

    fn inode(
        &mut self,
        number: u32,
        node: &Node,
        size: u64,
        map: (Map, u64),
        blocks: u64,
    ) -> Result<(), NodeError> {
        let links = u16::try_from(node.links).unwrap_or(u16::MAX);
        let fields = Draft {
            attributes: &node.attributes,
            mode_type: mode_type(&node.kind),
            size,
            links,
            indexed: false,
        };
        self.finish_inode(number, &fields, map, blocks)
    }

    fn directory(
        &mut self,
        place: Place,
        attributes: &Attributes,
        entries: &[Entry<'_>],
    ) -> Result<(), NodeError> {
        let blocks = directory::lay_out(self.seed, place, entries).ok_or(NodeError::Directory)?;
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
    fn journal(&mut self, uuid: &[u8; 16]) -> Result<Journal, Ext4Error> {
        let mut bytes = vec![0; usize::try_from(JOURNAL_BLOCKS).unwrap_or(0) * BLOCK];
        #[expect(clippy::cast_possible_truncation, reason = "1024")]
        let first = journal_superblock(JOURNAL_BLOCKS as u32, uuid);
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

    fn finish_inode(
        &mut self,
        number: u32,
        draft: &Draft<'_>,
        map: (Map, u64),
        blocks: u64,
    ) -> Result<(), NodeError> {
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
        if let Some((place, sharers)) =
            self.xattr_blocks.get_mut(&block).filter(|(_, n)| *n < MAX_XATTR_SHARERS)
        {
            *sharers += 1;
            return Ok(*place);
        }
        let run = self.space.take_exactly(1).ok_or_else(|| full(&self.space))?;
        let place = run.start;
        self.used.push(run);
        if let Some((full_place, sharers)) = self.xattr_blocks.insert(block.clone(), (place, 1)) {
            self.write_xattr_block(full_place, block, sharers)?;
        }
        Ok(place)
    }

    fn shared_xattr_blocks(&mut self) -> Result<(), Ext4Error> {
        for (block, (place, sharers)) in std::mem::take(&mut self.xattr_blocks) {
            self.write_xattr_block(place, block, sharers)?;
        }
        Ok(())
    }

    fn write_xattr_block(&mut self, place: u64, mut block: Vec<u8>, sharers: u32) -> Result<(), Ext4Error> {
        super::put(&mut block, 4, sharers.to_le_bytes());
        self.seed.seal_xattr_block(place, &mut block);
        self.out.put(place * BLOCK_U64, &block)
    }

    /// Writes `bytes` to blocks of their own.
    fn place_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Extent>, NodeError> {
        let mut extents = Vec::new();
        let (mut logical, mut rest) = (0, bytes);
        while !rest.is_empty() {
            // Below a group, so that an extent's 16-bit length holds it.
            let wanted = (rest.len().div_ceil(BLOCK) as u64).min(GROUP / 2);
            let run = self.space.take(wanted).ok_or_else(|| full(&self.space))?;
            #[expect(clippy::cast_possible_truncation, reason = "at most half a group")]
            let length = (run.end - run.start) as u16;
            let (now, later) = rest.split_at(rest.len().min(usize::from(length) * BLOCK));
            self.out.put(run.start * BLOCK_U64, now)?;
            let padding = now.len().next_multiple_of(BLOCK) - now.len();
            self.out.put(run.start * BLOCK_U64 + now.len() as u64, &[0; BLOCK][..padding])?;
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
            let run = self.space.take_exactly(1).ok_or_else(|| full(&self.space))?;
            places.push(run.start);
            self.used.push(run);
        }
        let (root, blocks) = extents::build(self.seed, number, extents, &places);
        for (place, block) in blocks {
            self.out.put(place * BLOCK_U64, &block)?;
        }
        Ok((Map::Extents(root), needed as u64))
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

fn block_range(extent: &Extent) -> Range<u64> {
    extent.physical..extent.physical + u64::from(extent.length)
}

/// What went wrong with one node; its path is added where it is known.
enum NodeError {
    Directory,
    Xattrs(Refused),
    Write(Ext4Error),
}

impl NodeError {
    fn at(self, path: &[u8]) -> Ext4Error {
        let path = String::from_utf8_lossy(path).into_owned();
        match self {
            Self::Xattrs(Refused::TooLarge) => Ext4Error::Xattrs { path },
            Self::Xattrs(Refused::Acl) => Ext4Error::Acl { path },
            Self::Directory => Ext4Error::Directory { path },
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
