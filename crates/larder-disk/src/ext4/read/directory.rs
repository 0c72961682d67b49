//! Directories: entries out of blocks, read one after the other; the hash tree over them only has its checksums checked.

use super::FileSystem;
use super::bytes::{u16_at, u32_at};
use super::error::{Object, ReadError};
use super::inode::{FileType, Inode};
use crate::ext4::checksum::raw;
use crate::tree::Name;

/// The fixed part of an entry.
const ENTRY: usize = 8;
/// The checksum at the end of a block of entries, dressed as an entry.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
/// Where the index entries begin in the first block, and in the others of a tree.
const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) inode: u32,
    /// `EXT4_FT_*`; 0 where the file system does not say.
    pub(super) kind: u8,
}

impl Entry {
    /// Whether it may be a directory: so it says, or nothing says what it is.
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, 0 | 2)
    }
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    /// The inode of `..`.
    pub(super) parent: u32,
    /// Without `.` and `..`; sorted by name.
    pub(crate) entries: Vec<Entry>,
}

impl FileSystem {
    /// The names in a directory.
    pub(crate) fn entries(&self, inode: &Inode) -> Result<Entries, ReadError> {
        let object = Object::Inode(inode.number);
        if inode.file_type != FileType::Directory {
            return Err(ReadError::damaged(object, "it is not a directory"));
        }
        let block_size = self.superblock.block_size as u64;
        let blocks = inode.size / block_size;
        if inode.size == 0 || !inode.size.is_multiple_of(block_size) {
            return Err(ReadError::damaged(object, "its size cannot be that of a directory"));
        }
        let mut places = self.extents(inode)?.runs.into_iter().flat_map(|run| {
            (0..run.length).map(move |at| (run.logical + at, run.physical + u64::from(at), run.written))
        });
        let mut all = Vec::new();
        for number in 0..blocks {
            let Some((logical, physical, true)) = places.next().filter(|place| u64::from(place.0) == number)
            else {
                return Err(ReadError::damaged(object, "the directory has holes"));
            };
            let object = Object::DirectoryBlock { inode: inode.number, block: logical };
            let block = self.block(physical)?;
            let end = check_block(object, &block, inode, logical, inode.seed(&self.superblock))?;
            self.parse(object, &block[..end], &mut all)?;
        }
        if places.next().is_some() {
            return Err(ReadError::damaged(object, "the directory has blocks beyond its end"));
        }
        sorted(object, inode.number, all)
    }

    fn parse(&self, object: Object, block: &[u8], all: &mut Vec<Entry>) -> Result<(), ReadError> {
        let damaged = |what: &'static str| ReadError::damaged(object, what);
        let mut rest = block;
        while !rest.is_empty() {
            let length = usize::from(u16_at(rest, 4));
            let fits = length >= ENTRY && length.is_multiple_of(4);
            let split = rest.split_at_checked(length).filter(|_| fits);
            let (entry, later) = split.ok_or_else(|| damaged("an entry's length cannot be"))?;
            let (fixed, name) = entry.split_at(ENTRY);
            let name = name.get(..usize::from(fixed[6]));
            let name = name.ok_or_else(|| damaged("an entry's length cannot be"))?;
            rest = later;
            let inode = u32_at(fixed, 0);
            if inode == 0 {
                continue;
            }
            if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                return Err(damaged("an entry's name cannot be"));
            }
            if inode > self.superblock.inodes {
                return Err(damaged("an entry names an inode that is not there"));
            }
            let kind = if self.superblock.has_file_types() { fixed[7] } else { 0 };
            all.push(Entry { name: name.into(), inode, kind });
        }
        Ok(())
    }
}

/// Checks a block's checksum; returns where its entries end.
fn check_block(
    object: Object,
    block: &[u8],
    inode: &Inode,
    logical: u32,
    seed: Option<u32>,
) -> Result<usize, ReadError> {
    let Some(seed) = seed else { return Ok(block.len()) };
    let right = |fits| if fits { Ok(()) } else { Err(ReadError::Checksum(object)) };
    if inode.is_indexed()
        && let Some(first) = index_entries(block, logical)
    {
        right(index_checksum_is_right(block, first, seed))?;
        return Ok(block.len());
    }
    let end = block.len() - TAIL.min(block.len());
    let (covered, tail) = block.split_at(end);
    if (u32_at(tail, 0), tail.get(4..8)) != (0, Some(&[12, 0, 0, TAIL_TYPE][..])) {
        return Err(ReadError::damaged(object, "it has no checksum"));
    }
    right(raw(seed, covered) == u32_at(tail, 8))?;
    Ok(end)
}

/// Where the index entries of a block begin; none where it is a block of names.
fn index_entries(block: &[u8], logical: u32) -> Option<usize> {
    let root = logical == 0;
    // Only an inner node begins with an entry as long as the block: a block of names keeps room for its checksum.
    let node = usize::from(u16_at(block, 4)) == block.len();
    match (root, node) {
        (true, _) => Some(ROOT_ENTRIES),
        (false, true) => Some(NODE_ENTRIES),
        (false, false) => None,
    }
}

fn index_checksum_is_right(block: &[u8], first: usize, seed: u32) -> bool {
    let (limit, count) = (usize::from(u16_at(block, first)), usize::from(u16_at(block, first + 2)));
    let tail = first + limit * 8;
    let (Some(covered), Some(reserved)) = (block.get(..first + count * 8), block.get(tail..tail + 4)) else {
        return false;
    };
    // Behind the entries in use come the tail's reserved bytes, and four zeros for the checksum itself.
    let sum = raw(raw(raw(seed, covered), reserved), &[0; 4]);
    count <= limit && tail + 8 <= block.len() && sum == u32_at(block, tail + 4)
}

/// Takes `.` and `..` out, which must come first, and sorts the rest.
fn sorted(object: Object, number: u32, all: Vec<Entry>) -> Result<Entries, ReadError> {
    let is_dots = |name: &[u8]| matches!(name, b"." | b"..");
    let mut all = all.into_iter();
    let (Some(dot), Some(dot_dot)) = (all.next(), all.next()) else {
        return Err(ReadError::damaged(object, "the directory is empty"));
    };
    if (&*dot.name, &*dot_dot.name, dot.inode) != (&b"."[..], &b".."[..], number) {
        return Err(ReadError::damaged(object, "the directory does not begin with itself and its parent"));
    }
    let mut entries: Vec<Entry> = all.collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    if entries.iter().any(|entry| is_dots(&entry.name)) {
        return Err(ReadError::damaged(object, "the directory names itself or its parent twice"));
    }
    if let Some([twice, _]) = entries.array_windows().find(|[a, b]| a.name == b.name) {
        let name = twice.name.escape_ascii();
        return Err(ReadError::damaged(object, format!("the directory has the name {name} twice")));
    }
    Ok(Entries { parent: dot_dot.inode, entries })
}
