//! Every inode in use: its checksum, its blocks, and its extended attributes.

use std::collections::BTreeSet;

use super::{Check, Seen};
use crate::ext4::read::ROOT;
use crate::ext4::read::bytes::{u16_at, u32_at};
use crate::ext4::read::error::{Object, ReadError};
use crate::ext4::read::groups::Group;
use crate::ext4::read::inode::{FileType, Inode, checksum_is_right, is_blank};
use crate::ext4::read::superblock::Checksums;

/// Inodes that cannot be read, after which no more are tried: a disk of nothing but these would take hours and all memory.
const MAX_UNREADABLE: usize = 1_000_000;
/// Its block map holds the blocks kept for more descriptors, by way of one block of its own.
const RESIZE_INODE: u32 = 7;
/// `i_block[13]`: the block of blocks of blocks.
const DOUBLE_INDIRECT: usize = 13 * 4;

impl Check<'_> {
    pub(super) fn inodes(&mut self) {
        let (mut free, mut known) = (0, true);
        for (number, group) in (0..).zip(self.groups.clone()) {
            let Some(group) = group else {
                known = false;
                continue;
            };
            match self.group_inodes(number, &group) {
                Some(used) => free += u64::from(self.fs.superblock.inodes_per_group) - used,
                None => known = false,
            }
        }
        if known && free != u64::from(self.fs.superblock.free_inodes) {
            self.damaged(Object::Superblock, "its count of free inodes is wrong");
        }
    }

    /// Reads the inodes of a group; returns how many are in use, unless the bitmap cannot be believed.
    fn group_inodes(&mut self, number: u64, group: &Group) -> Option<u64> {
        let per_group = self.fs.superblock.inodes_per_group;
        if self.unreadable.len() > MAX_UNREADABLE {
            return None;
        }
        let used = if group.inodes_uninitialised {
            Vec::new()
        } else {
            let bitmap = self.inode_bitmap(number, group);
            self.findings.note(bitmap)?
        };
        let first = u32::try_from(number * u64::from(per_group)).ok()?;
        let last_used = used.last().map_or(0, |last| last + 1);
        if last_used > per_group - group.unused_inodes {
            self.damaged(Object::Group(number), "it counts inodes in use as never used");
        }
        let mut directories = 0;
        for index in &used {
            let inode = first + index + 1;
            match self.inode(inode) {
                Ok(file_type) => directories += u32::from(file_type == Some(FileType::Directory)),
                Err(error) => {
                    self.findings.push(error);
                    self.unreadable.insert(inode);
                }
            }
        }
        let used = used.len() as u64;
        if u64::from(group.free_inodes) + used != u64::from(per_group) {
            self.damaged(Object::Group(number), "its count of free inodes is wrong");
        }
        if self.unreadable.is_empty() && group.directories != directories {
            self.damaged(Object::Group(number), "its count of directories is wrong");
        }
        Some(used)
    }

    /// The inodes in use, counted from 0 within the group.
    fn inode_bitmap(&self, number: u64, group: &Group) -> Result<Vec<u32>, ReadError> {
        let object = Object::InodeBitmap(number);
        let superblock = &self.fs.superblock;
        let bitmap = self.fs.block(group.inode_bitmap)?;
        let per_group = superblock.inodes_per_group;
        let (covered, padding) = bitmap.split_at(bitmap.len().min(per_group as usize / 8));
        if let Checksums::All(seed) = superblock.checksums
            && !sum_matches(seed.of(covered), group.inode_bitmap_sum, superblock.descriptor_size)
        {
            return Err(ReadError::Checksum(object));
        }
        if padding.iter().any(|byte| *byte != 0xff) {
            return Err(ReadError::damaged(object, "bits beyond its end are not set"));
        }
        let is_set = |index: &u32| covered[*index as usize / 8] & 1 << (index % 8) != 0;
        Ok((0..per_group).filter(is_set).collect())
    }

    /// Reads one inode in use; none where it is reserved and blank.
    fn inode(&mut self, number: u32) -> Result<Option<FileType>, ReadError> {
        let superblock = &self.fs.superblock;
        let bytes = self.fs.inode_bytes(number)?;
        let reserved = number < superblock.first_inode && number != ROOT;
        if reserved && (is_blank(&bytes) || u16_at(&bytes, 0) == 0) {
            let right = is_blank(&bytes) || checksum_is_right(superblock, number, &bytes);
            return if right { Ok(None) } else { Err(ReadError::Checksum(Object::Inode(number))) };
        }
        let inode = Inode::parse(superblock, number, &bytes)?;
        if number == RESIZE_INODE && !inode.has_extents() {
            let block = u64::from(u32_at(&inode.map, DOUBLE_INDIRECT));
            if block != 0 {
                self.claim(Object::Inode(number), block..block + 1);
            }
            return Ok(Some(inode.file_type));
        }
        self.blocks_of(&inode)?;
        if inode.file_type == FileType::Directory {
            self.directories.push(number);
        }
        // What holds a directory's or a link's own data is read with it; a link has no other reader.
        if inode.file_type == FileType::Symlink {
            self.fs.target(&inode)?;
        }
        if !reserved && !superblock.nameless.contains(&Some(number)) {
            let kind = inode.file_type.in_entries();
            self.seen.insert(number, Seen { links: inode.links, kind, names: 0 });
        }
        Ok(Some(inode.file_type))
    }

    /// Claims an inode's blocks, and counts them.
    fn blocks_of(&mut self, inode: &Inode) -> Result<(), ReadError> {
        let object = Object::Inode(inode.number);
        let extents = self.fs.extents(inode)?;
        let mut blocks = extents.tree_blocks.len() as u64;
        for block in extents.tree_blocks {
            self.claim(Object::ExtentBlock { inode: inode.number, block }, block..block + 1);
        }
        for run in extents.runs {
            blocks += u64::from(run.length);
            self.claim(object, run.physical..run.physical + u64::from(run.length));
        }
        self.fs.xattrs(inode)?;
        if inode.xattr_block != 0 {
            blocks += 1;
            self.xattr_block(inode)?;
        }
        if inode.sectors != blocks * (self.fs.superblock.block_size as u64 / 512) {
            self.damaged(object, "its count of blocks is wrong");
        }
        Ok(())
    }

    /// A block of attributes may be shared; it is claimed for the first inode that names it.
    fn xattr_block(&mut self, inode: &Inode) -> Result<(), ReadError> {
        let block = inode.xattr_block;
        if let Some((_, sharers, _)) = self.shared.get_mut(&block) {
            *sharers += 1;
            return Ok(());
        }
        let object = Object::XattrBlock { inode: inode.number, block };
        let declared = self.fs.xattr_sharers(inode)?;
        self.shared.insert(block, (declared, 1, object));
        self.claim(object, block..block + 1);
        Ok(())
    }

    /// Names every owner of a block that has several, and attribute blocks that count their sharers wrongly.
    pub(super) fn sharing(&mut self) {
        let shared = std::mem::take(&mut self.shared);
        if self.is_complete() {
            for (_, _, object) in shared.into_values().filter(|(declared, sharers, _)| declared != sharers) {
                self.damaged(object, "its count of sharers is wrong");
            }
        }
        if self.conflicts.is_empty() {
            return;
        }
        let mut numbers: Vec<u32> = self.seen.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let taken = self.fs.inode(number).and_then(|inode| self.conflict_of(&inode));
            if let Ok(Some(block)) = taken {
                let what = format!("block {block} belongs to something else too");
                self.damaged(Object::Inode(number), what);
            }
        }
    }

    fn conflict_of(&self, inode: &Inode) -> Result<Option<u64>, ReadError> {
        let extents = self.fs.extents(inode)?;
        let within = |blocks: &BTreeSet<u64>, start: u64, length: u64| {
            blocks.range(start..start + length).next().copied()
        };
        let mut runs = extents.runs.iter().map(|run| (run.physical, u64::from(run.length)));
        let tree = extents.tree_blocks.iter().map(|block| (*block, 1));
        let attributes = (inode.xattr_block != 0).then_some((inode.xattr_block, 1));
        Ok(runs
            .by_ref()
            .chain(tree)
            .chain(attributes)
            .find_map(|(start, length)| within(&self.conflicts, start, length)))
    }
}

/// Bitmap checksums have 32 bits in long descriptors, 16 in short ones.
pub(in crate::ext4::read) fn sum_matches(sum: u32, stored: u32, descriptor_size: usize) -> bool {
    if descriptor_size >= 64 { sum == stored } else { sum & 0xffff == stored }
}
