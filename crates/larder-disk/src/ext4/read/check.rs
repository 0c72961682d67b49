//! The check of a whole file system: all metadata in use is read once, and must agree with the bitmaps, the counts and itself.
//!
//! What it does not do: repair, read file contents, or prove that the hash tree of a directory leads to every name.

mod bitmaps;
mod claims;
mod copies;
mod inodes;
mod journal;
mod names;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::error::{Object, ReadError};
use super::{FileSystem, Group};
use claims::Claims;
pub(super) use inodes::sum_matches;

/// More than anyone reads; the rest is counted.
const MAX_FINDINGS: usize = 1000;
/// Blocks with several owners whose owners are all looked for.
const MAX_CONFLICTS: usize = 64;

/// What is wrong with a file system.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<ReadError>,
    /// How many more there were.
    pub(crate) omitted: u64,
}

impl Findings {
    fn push(&mut self, error: ReadError) {
        if self.list.len() < MAX_FINDINGS { self.list.push(error) } else { self.omitted += 1 }
    }

    /// Takes the value, or notes why there is none.
    fn note<T>(&mut self, result: Result<T, ReadError>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }
}

/// An inode in use, as far as names are to agree with it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    links: u16,
    /// As directory entries hold it.
    kind: u8,
    names: u32,
}

/// A check under way.
struct Check<'a> {
    fs: &'a FileSystem,
    findings: Findings,
    /// None where a group's descriptor is damaged.
    groups: Vec<Option<Group>>,
    claims: Claims,
    seen: HashMap<u32, Seen>,
    /// Inodes that are in use and cannot be read.
    unreadable: HashSet<u32>,
    directories: Vec<u32>,
    /// Blocks that have several owners.
    conflicts: BTreeSet<u64>,
    /// Attribute blocks: how many inodes they say share them, and how many do.
    shared: HashMap<u64, (u32, u32, Object)>,
}

impl FileSystem {
    /// Reads all metadata, and says everything that is wrong with it.
    pub(crate) fn check(&self) -> Findings {
        let mut check = Check::new(self);
        check.state();
        // With changes still in the journal, nothing on the disk is what it is going to be.
        if !self.superblock.needs_recovery() {
            check.copies();
            check.metadata();
            check.inodes();
            check.sharing();
            check.names();
            check.bitmaps();
            check.journal();
        }
        check.findings
    }
}

impl<'a> Check<'a> {
    fn new(fs: &'a FileSystem) -> Self {
        let mut findings = Findings::default();
        let groups = (0..fs.superblock.groups()).map(|number| findings.note(fs.group(number))).collect();
        Self {
            fs,
            findings,
            groups,
            claims: Claims::new(&fs.superblock),
            seen: HashMap::new(),
            unreadable: HashSet::new(),
            directories: Vec::new(),
            conflicts: BTreeSet::new(),
            shared: HashMap::new(),
        }
    }

    fn damaged(&mut self, object: Object, what: impl Into<std::borrow::Cow<'static, str>>) {
        self.findings.push(ReadError::damaged(object, what));
    }

    /// Whether everything in use could be read, so that what is missing is really missing.
    fn is_complete(&self) -> bool {
        self.unreadable.is_empty() && self.groups.iter().all(Option::is_some)
    }

    fn state(&mut self) {
        let superblock = &self.fs.superblock;
        if superblock.needs_recovery() {
            self.damaged(Object::Superblock, "it was not unmounted: the journal holds changes");
        } else if superblock.has_errors() {
            self.damaged(Object::Superblock, "it is marked as having errors");
        } else if !superblock.is_clean() {
            self.damaged(Object::Superblock, "it was not unmounted cleanly");
        }
    }

    /// Claims what belongs to the groups themselves.
    fn metadata(&mut self) {
        let superblock = &self.fs.superblock;
        for (number, group) in (0..).zip(self.groups.clone()) {
            let start = superblock.group_blocks(number).start;
            if superblock.has_copy(number) {
                let descriptors = superblock.descriptor_blocks() + superblock.reserved_descriptors;
                self.claim(Object::SuperblockCopy(number), start..start + 1 + descriptors);
            }
            let Some(group) = group else { continue };
            self.claim(Object::BlockBitmap(number), group.block_bitmap..group.block_bitmap + 1);
            self.claim(Object::InodeBitmap(number), group.inode_bitmap..group.inode_bitmap + 1);
            let table_end = group.inode_table + superblock.inode_table_blocks();
            self.claim(Object::Group(number), group.inode_table..table_end);
        }
        if let Some(block) = superblock.mmp_block {
            self.claim(Object::Superblock, block..block.saturating_add(1));
        }
        self.claims.seal_metadata();
    }

    /// Notes that `object` owns `blocks`; that they are within the file system, and nobody else's.
    fn claim(&mut self, object: Object, blocks: Range<u64>) {
        if !self.fs.holds(blocks.start, blocks.end.saturating_sub(blocks.start)) {
            return self.damaged(object, "it reaches beyond the file system");
        }
        let Some(taken) = self.claims.claim(blocks) else { return };
        if object.inode().is_none() {
            return self.damaged(object, format!("block {taken} belongs to something else too"));
        }
        if self.conflicts.len() < MAX_CONFLICTS {
            self.conflicts.insert(taken);
        } else {
            self.findings.omitted += 1;
        }
    }
}
