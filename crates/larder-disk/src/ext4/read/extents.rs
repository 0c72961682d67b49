//! The extent tree of an inode, walked with every node's checksum, order and bounds checked.

use super::FileSystem;
use super::bytes::{u16_at, u32_at};
use super::error::{Object, ReadError};
use super::inode::Inode;
use crate::ext4::checksum::raw;

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// The deepest tree that the kernel makes.
const MAX_DEPTH: u16 = 5;
/// A longer extent is one that was reserved and never written; its length is what exceeds this.
const MAX_WRITTEN: u32 = 32_768;

/// A run of a file's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block within the file.
    pub(super) logical: u32,
    pub(super) length: u32,
    /// The first block on the disk.
    pub(super) physical: u64,
    /// Whether it was ever written; it reads as zeros otherwise.
    pub(super) written: bool,
}

/// The blocks of a file, and those of the tree that maps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents {
    /// In logical order, without overlaps.
    pub(super) runs: Vec<Run>,
    pub(super) tree_blocks: Vec<u64>,
}

/// A node to visit: its block, its depth, and the first file block that it may map.
struct Pending {
    block: u64,
    depth: u16,
    from: u64,
    /// One past the last file block that it may map.
    to: u64,
}

impl Inode {
    /// A block near the file's beginning: that of its first extent, or of the tree that leads there. Not checked.
    pub(crate) fn first_block(&self) -> u64 {
        if !self.has_extents() || u16_at(&self.map, 2) == 0 {
            return 0;
        }
        run(&self.map[HEADER..HEADER + ENTRY]).physical
    }
}

impl FileSystem {
    /// The blocks of `inode`; none where it maps none.
    pub(super) fn extents(&self, inode: &Inode) -> Result<Extents, ReadError> {
        let mut found = Extents::default();
        if !inode.has_extents() {
            return Ok(found);
        }
        let root = Object::Inode(inode.number);
        let depth = u16_at(&inode.map, 6);
        if depth > MAX_DEPTH {
            return Err(ReadError::damaged(root, "its extent tree is too deep"));
        }
        let mut pending = Vec::new();
        let whole = Pending { block: 0, depth, from: 0, to: 1 << 32 };
        self.visit(root, &inode.map, &whole, &mut found, &mut pending)?;
        while let Some(next) = pending.pop() {
            let object = Object::ExtentBlock { inode: inode.number, block: next.block };
            let bytes = self.block(next.block)?;
            check_tail(object, &bytes, inode.seed(&self.superblock))?;
            if u16_at(&bytes, 2) == 0 {
                return Err(ReadError::damaged(object, "it is empty"));
            }
            found.tree_blocks.push(next.block);
            self.visit(object, &bytes, &next, &mut found, &mut pending)?;
        }
        Ok(found)
    }

    /// Takes the extents of a leaf, or puts the children of an index node onto the stack, the first on top.
    fn visit(
        &self,
        object: Object,
        node: &[u8],
        place: &Pending,
        found: &mut Extents,
        pending: &mut Vec<Pending>,
    ) -> Result<(), ReadError> {
        let damaged = |what: &'static str| ReadError::damaged(object, what);
        let (entries, capacity) = (usize::from(u16_at(node, 2)), usize::from(u16_at(node, 4)));
        let fits = entries <= capacity && HEADER + capacity * ENTRY <= node.len();
        if u16_at(node, 0) != MAGIC || u16_at(node, 6) != place.depth || !fits {
            return Err(damaged("it is no node of an extent tree"));
        }
        let entries: Vec<&[u8]> =
            node.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY).take(entries).collect();
        if place.depth == 0 {
            return entries.into_iter().try_for_each(|entry| {
                let run = run(entry);
                self.accept(run, place, found.runs.last()).map_err(damaged)?;
                found.runs.push(run);
                Ok(())
            });
        }
        let mut to = place.to;
        for entry in entries.into_iter().rev() {
            let from = u64::from(u32_at(entry, 0));
            let block = u64::from(u32_at(entry, 4)) | u64::from(u16_at(entry, 8)) << 32;
            if from < place.from || from >= to || !self.holds(block, 1) {
                return Err(damaged("its extent tree leads nowhere, or is out of order"));
            }
            pending.push(Pending { block, depth: place.depth - 1, from, to });
            to = from;
        }
        Ok(())
    }

    fn accept(&self, run: Run, place: &Pending, previous: Option<&Run>) -> Result<(), &'static str> {
        let start = u64::from(run.logical);
        let after = previous.map_or(0, |previous| u64::from(previous.logical) + u64::from(previous.length));
        if run.length == 0 || start < after.max(place.from) || start + u64::from(run.length) > place.to {
            return Err("its extents are empty, overlap, or are out of order");
        }
        if !self.holds(run.physical, u64::from(run.length)) {
            return Err("its extents reach beyond the file system");
        }
        Ok(())
    }
}

fn run(entry: &[u8]) -> Run {
    let length = u32::from(u16_at(entry, 4));
    let written = length <= MAX_WRITTEN;
    Run {
        logical: u32_at(entry, 0),
        length: if written { length } else { length - MAX_WRITTEN },
        physical: u64::from(u32_at(entry, 8)) | u64::from(u16_at(entry, 6)) << 32,
        written,
    }
}

/// The checksum stands behind the last place for an entry.
fn check_tail(object: Object, block: &[u8], seed: Option<u32>) -> Result<(), ReadError> {
    let Some(seed) = seed else { return Ok(()) };
    let tail = HEADER + usize::from(u16_at(block, 4)) * ENTRY;
    match block.get(..tail) {
        Some(covered) if tail + 4 <= block.len() && raw(seed, covered) == u32_at(block, tail) => Ok(()),
        _ => Err(ReadError::Checksum(object)),
    }
}
