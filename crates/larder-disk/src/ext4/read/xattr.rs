//! Extended attributes: those in the inode, and those in a block of their own.

use std::collections::BTreeMap;

use super::FileSystem;
use super::bytes::{u16_at, u32_at};
use super::error::{Object, ReadError};
use super::inode::Inode;
use super::superblock::Checksums;
use crate::ext4::acl;
use crate::tree::Xattrs;

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;
const CHECKSUM_AT: usize = 16;

type Found = BTreeMap<Vec<u8>, Vec<u8>>;

impl FileSystem {
    /// All extended attributes of `inode`, by full name.
    pub(crate) fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ReadError> {
        let mut found = Found::new();
        if let Some(area) = inode.rest.strip_prefix(&MAGIC.to_le_bytes()) {
            take(Object::Inode(inode.number), area, area, &mut found)?;
        }
        if inode.xattr_block != 0 {
            let object = Object::XattrBlock { inode: inode.number, block: inode.xattr_block };
            let block = self.xattr_block(inode)?;
            take(object, &block, &block[BLOCK_HEADER..], &mut found)?;
        }
        Ok((!found.is_empty()).then(|| Box::new(found)))
    }

    /// How many inodes say that they share the attribute block of `inode`.
    pub(super) fn xattr_sharers(&self, inode: &Inode) -> Result<u32, ReadError> {
        Ok(u32_at(&self.xattr_block(inode)?, 4))
    }

    fn xattr_block(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let number = inode.xattr_block;
        let object = Object::XattrBlock { inode: inode.number, block: number };
        if !self.holds(number, 1) {
            return Err(ReadError::damaged(object, "it is beyond the file system"));
        }
        let block = self.block(number)?;
        if (u32_at(&block, 0), u32_at(&block, 8)) != (MAGIC, 1) {
            return Err(ReadError::damaged(object, "it is no block of extended attributes"));
        }
        if let Checksums::All(seed) = self.superblock.checksums {
            let mut sealed = block.clone();
            seed.seal_xattr_block(number, &mut sealed);
            if u32_at(&sealed, CHECKSUM_AT) != u32_at(&block, CHECKSUM_AT) {
                return Err(ReadError::Checksum(object));
            }
        }
        Ok(block)
    }
}

/// Takes the attributes of the list that `rest` begins with; their values are counted from the start of `area`.
fn take(object: Object, area: &[u8], mut rest: &[u8], found: &mut Found) -> Result<(), ReadError> {
    let damaged = |what: &'static str| ReadError::damaged(object, what);
    // Four zero bytes end the list.
    while !rest.starts_with(&[0; 4]) {
        let beyond = || damaged("an extended attribute reaches beyond its place");
        let (fixed, names) = rest.split_first_chunk::<ENTRY>().ok_or_else(beyond)?;
        let (name_length, index) = (usize::from(fixed[0]), fixed[1]);
        let (offset, size) = (usize::from(u16_at(fixed, 2)), u32_at(fixed, 8) as usize);
        let name = names.get(..name_length).ok_or_else(beyond)?;
        let value = if size == 0 { Some(&[][..]) } else { area.get(offset..offset.saturating_add(size)) };
        let value = value.ok_or_else(beyond)?;
        let (name, value) = restored(index, name, value)
            .ok_or_else(|| damaged("an extended attribute is of an unknown kind, or malformed"))?;
        if found.insert(name, value).is_some() {
            return Err(damaged("an extended attribute is there twice"));
        }
        rest = names.get(name_length.next_multiple_of(4)..).ok_or_else(beyond)?;
    }
    Ok(())
}

/// The full name, and the value as the kernel shows it.
fn restored(index: u8, name: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let prefix: &[u8] = match index {
        1 => b"user.",
        2 => return Some((b"system.posix_acl_access".to_vec(), acl::from_disk(value)?)),
        3 => return Some((b"system.posix_acl_default".to_vec(), acl::from_disk(value)?)),
        4 => b"trusted.",
        6 => b"security.",
        7 => b"system.",
        _ => return None,
    };
    Some(([prefix, name].concat(), value.to_vec()))
}
