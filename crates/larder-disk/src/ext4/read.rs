//! Reads an ext4 file system of any maker, without mounting it. Every byte is foreign: checksums, bounds and order are checked
//! before anything is believed, and nothing is followed in circles.

mod allocated;
mod bytes;
mod check;
mod directory;
mod error;
mod extents;
mod groups;
mod inode;
mod superblock;
mod window;
mod xattr;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

pub(crate) use check::Findings;
pub use error::{Object, ReadError};
use groups::Group;
pub(crate) use inode::{FileType, Inode};
use superblock::{Checksums, Superblock};
pub(crate) use window::Window;

pub(crate) const ROOT: u32 = 2;
/// Paths longer than this are not told.
const MAX_PATH: usize = 4096;

/// An opened file system.
pub(crate) struct FileSystem {
    file: File,
    superblock: Superblock,
    /// The bytes of all group descriptors.
    descriptors: Vec<u8>,
}

/// What a file system says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) used: u64,
    pub(crate) uuid: [u8; 16],
    /// Whether every piece of metadata has a checksum.
    pub(crate) checksums: bool,
    /// Bytes of the journal.
    pub(crate) journal: Option<u64>,
}

impl FileSystem {
    /// Opens the file system in a file or on a block device.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io { offset: 0, source };
        let mut file = File::open(path).map_err(failed)?;
        let available = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut bytes = [0; superblock::LENGTH];
        if available < superblock::OFFSET + superblock::LENGTH as u64 {
            return Err(ReadError::NotExt4);
        }
        read(&file, superblock::OFFSET, &mut bytes)?;
        let superblock = Superblock::parse(&bytes, Object::Superblock)?;
        superblock.fits(available)?;
        let mut file_system = Self { file, superblock, descriptors: Vec::new() };
        file_system.descriptors = file_system.descriptors_at(0)?;
        Ok(file_system)
    }

    /// Size, identity and journal.
    pub(crate) fn facts(&self) -> Result<Facts, ReadError> {
        let superblock = &self.superblock;
        let block_size = superblock.block_size as u64;
        let journal = superblock.journal.map(|number| Ok(self.inode(number)?.size)).transpose()?;
        Ok(Facts {
            size: superblock.size(),
            used: (superblock.blocks - superblock.free_blocks) * block_size,
            uuid: superblock.uuid,
            checksums: matches!(superblock.checksums, Checksums::All(_)),
            journal,
        })
    }

    /// An inode in use.
    pub(crate) fn inode(&self, number: u32) -> Result<Inode, ReadError> {
        Inode::parse(&self.superblock, number, &self.inode_bytes(number)?)
    }

    /// Hands the content of a file to `sink`, piece by piece, as far as possible out of `window`; holes are zeros.
    pub(crate) fn content(
        &self,
        inode: &Inode,
        window: &mut Window,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ReadError> {
        let block_size = self.superblock.block_size as u64;
        let mut position = 0;
        for run in self.extents(inode)?.runs.into_iter().filter(|run| run.written) {
            let start = u64::from(run.logical) * block_size;
            zeros(inode.size.min(start).saturating_sub(position), sink);
            let end = inode.size.min(start + u64::from(run.length) * block_size);
            let mut at = start;
            while at < end {
                let offset = run.physical * block_size + (at - start);
                let piece = window.at(&self.file, offset, self.superblock.size())?;
                let length = usize::try_from(end - at).map_or(piece.len(), |left| left.min(piece.len()));
                sink(&piece[..length]);
                at += length as u64;
            }
            position = position.max(at.min(inode.size));
        }
        zeros(inode.size - position, sink);
        Ok(())
    }

    /// Where a symbolic link leads.
    pub(crate) fn target(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let cannot_be = || ReadError::damaged(Object::Inode(inode.number), "its target's length cannot be");
        let length = usize::try_from(inode.size).map_err(|_| cannot_be())?;
        if length == 0 || length >= self.superblock.block_size {
            return Err(cannot_be());
        }
        if !inode.has_extents() {
            return inode.map.get(..length).map(<[u8]>::to_vec).ok_or_else(cannot_be);
        }
        let mut target = Vec::with_capacity(length);
        self.content(inode, &mut Window::of(inode.size), &mut |piece| target.extend_from_slice(piece))?;
        Ok(target)
    }

    /// The name `name` in a directory.
    pub(crate) fn child(&self, directory: &Inode, name: &[u8]) -> Result<Option<u32>, ReadError> {
        let entries = self.entries(directory)?.entries;
        let place = entries.binary_search_by(|entry| (*entry.name).cmp(name));
        Ok(place.ok().and_then(|place| entries.get(place)).map(|entry| entry.inode))
    }

    /// The first path found of each of these inodes; damaged directories are passed over.
    pub(crate) fn paths(&self, wanted: &BTreeSet<u32>) -> HashMap<u32, Vec<u8>> {
        let mut found = HashMap::new();
        let mut entered = HashSet::from([ROOT]);
        let mut pending = vec![(ROOT, Vec::new())];
        while let Some((number, path)) = pending.pop()
            && found.len() < wanted.len()
        {
            let Ok(directory) = self.inode(number) else { continue };
            for entry in self.entries(&directory).map(|found| found.entries).unwrap_or_default() {
                let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let child = || [&path, separator, &entry.name].concat();
                if wanted.contains(&entry.inode) {
                    found.entry(entry.inode).or_insert_with(child);
                }
                if path.len() < MAX_PATH && entry.is_directory() && entered.insert(entry.inode) {
                    pending.push((entry.inode, child()));
                }
            }
        }
        found
    }

    fn group(&self, number: u64) -> Result<Group, ReadError> {
        self.group_in(&self.descriptors, number)
    }

    fn group_in(&self, descriptors: &[u8], number: u64) -> Result<Group, ReadError> {
        let size = self.superblock.descriptor_size;
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(size));
        let bytes = start.and_then(|start| descriptors.get(start..start + size));
        let missing = || ReadError::damaged(Object::Group(number), "there is no such group");
        Group::parse(&self.superblock, number, bytes.ok_or_else(missing)?)
    }

    /// All group descriptors, as the copy in `group` has them.
    fn descriptors_at(&self, group: u64) -> Result<Vec<u8>, ReadError> {
        let superblock = &self.superblock;
        let first = superblock.group_blocks(group).start + 1;
        let blocks = superblock.descriptor_blocks();
        if !self.holds(first, blocks) {
            return Err(ReadError::damaged(Object::SuperblockCopy(group), "it reaches beyond the end"));
        }
        let length = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(superblock.block_size);
        let mut bytes = vec![0; length];
        read(&self.file, first * superblock.block_size as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn inode_bytes(&self, number: u32) -> Result<Vec<u8>, ReadError> {
        let superblock = &self.superblock;
        let missing = || ReadError::damaged(Object::Inode(number), "there is no such inode");
        let index = number.checked_sub(1).filter(|_| number <= superblock.inodes).ok_or_else(missing)?;
        let group = self.group(u64::from(index / superblock.inodes_per_group))?;
        let within = u64::from(index % superblock.inodes_per_group) * superblock.inode_size as u64;
        let mut bytes = vec![0; superblock.inode_size];
        read(&self.file, group.inode_table * superblock.block_size as u64 + within, &mut bytes)?;
        Ok(bytes)
    }

    fn block(&self, number: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; self.superblock.block_size];
        read(&self.file, number * self.superblock.block_size as u64, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether `length` blocks from `first` on are within the file system.
    fn holds(&self, first: u64, length: u64) -> bool {
        let end = first.checked_add(length);
        first >= self.superblock.first_block && end.is_some_and(|end| end <= self.superblock.blocks)
    }
}

fn read(file: &File, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
    file.read_exact_at(bytes, offset).map_err(|source: io::Error| ReadError::Io { offset, source })
}

fn zeros(length: u64, sink: &mut dyn FnMut(&[u8])) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        sink(&ZEROS[..now]);
        left -= now as u64;
    }
}
