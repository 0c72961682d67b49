//! The copies of the superblock and the descriptors, which nothing reads until the first ones are lost.

use super::Check;
use crate::ext4::read::bytes::u16_at;
use crate::ext4::read::error::{Object, ReadError};
use crate::ext4::read::groups::Group;
use crate::ext4::read::superblock::{LENGTH, Superblock};
use crate::ext4::read::{FileSystem, read};

impl Check<'_> {
    pub(super) fn copies(&mut self) {
        let superblock = &self.fs.superblock;
        let (fs, count) = (self.fs, superblock.groups());
        for group in (1..count).filter(|group| superblock.has_copy(*group)) {
            let copy = fs.copy(group).map_err(|error| match error {
                ReadError::NotExt4 => ReadError::damaged(Object::SuperblockCopy(group), "it is missing"),
                error => error,
            });
            let Some((copy, descriptors)) = self.findings.note(copy) else { continue };
            // Counts, flags and the label may be older in a copy; each descriptor's own checksum holds all the same.
            let differs = (0..).zip(&self.groups).find(|(number, original)| {
                let there = fs.descriptor_of(&copy, &descriptors, *number);
                original.as_ref().is_some_and(|original| !there.is_some_and(|there| there.is_where(original)))
            });
            if let Some((number, _)) = differs {
                let what = format!("its descriptor of group {number} is damaged");
                self.damaged(Object::SuperblockCopy(group), what);
            }
        }
    }
}

impl FileSystem {
    fn copy(&self, group: u64) -> Result<(Superblock, Vec<u8>), ReadError> {
        let object = Object::SuperblockCopy(group);
        let mut bytes = [0; LENGTH];
        let block = self.superblock.group_blocks(group).start;
        read(&self.file, block * self.superblock.block_size as u64, &mut bytes)?;
        let copy = Superblock::parse(&bytes, object)?;
        // Group numbers have 16 bits there.
        if !self.superblock.agrees_with(&copy) || u64::from(u16_at(&bytes, 0x5a)) != group & 0xffff {
            return Err(ReadError::damaged(object, "it is of another file system"));
        }
        Ok((copy, self.descriptors_at(group)?))
    }

    fn descriptor_of(&self, copy: &Superblock, descriptors: &[u8], number: u64) -> Option<Group> {
        let size = self.superblock.descriptor_size;
        let start = usize::try_from(number).ok()?.checked_mul(size)?;
        Group::parse(copy, number, descriptors.get(start..start + size)?).ok()
    }
}
