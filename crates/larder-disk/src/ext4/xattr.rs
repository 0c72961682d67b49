//! Extended attributes: in the inode as far as they fit, the rest in one block (`ext4/xattr.h`).

use std::collections::BTreeMap;

use super::inode::XATTR_ROOM;
use super::{BLOCK, acl, put};

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;
/// Four zero bytes end a list of entries.
const END: usize = 4;

/// An attribute by its name index and the rest of its name, as entries are sorted in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Why an inode's attributes cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// More than the inode and a block hold.
    TooLarge,
    /// An access control list that is none.
    Acl,
}

/// An inode's attributes, placed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// For the inode's room behind its fields; may be empty.
    pub(super) in_inode: Vec<u8>,
    /// A whole block, without its checksum.
    pub(super) block: Option<Vec<u8>>,
}

/// Places `xattrs` of a file with `mode`, with `room` bytes in the inode.
pub(super) fn place(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, mode: u16, room: usize) -> Result<Placed, Refused> {
    let mut attributes = xattrs
        .iter()
        .filter_map(|(name, value)| split(name).map(|(index, rest)| (index, rest, value)))
        .map(|(index, name, value)| {
            let value = match index {
                ACL_ACCESS => acl::to_disk(value, Some(mode)).ok_or(Refused::Acl)?,
                ACL_DEFAULT => acl::to_disk(value, None).ok_or(Refused::Acl)?,
                _ => value.clone(),
            };
            Ok(Attribute { index, name: name.to_vec(), value })
        })
        .collect::<Result<Vec<_>, _>>()?;
    attributes.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    let mut left = room.saturating_sub(END + END);
    let (inside, outside): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|attribute| {
        let fits = attribute.size() <= left;
        left -= if fits { attribute.size() } else { 0 };
        fits
    });
    let total: usize = outside.iter().map(Attribute::size).sum();
    if BLOCK_HEADER + total + END > BLOCK {
        return Err(Refused::TooLarge);
    }
    let in_inode = if inside.is_empty() { Vec::new() } else { in_inode(&inside, room) };
    let block = (!outside.is_empty()).then(|| block(&outside));
    Ok(Placed { in_inode, block })
}

const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;

/// The name index and what is left of the name; none for a namespace that ext4 does not have.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    let exact: [(&[u8], u8); 2] =
        [(b"system.posix_acl_access", ACL_ACCESS), (b"system.posix_acl_default", ACL_DEFAULT)];
    if let Some((_, index)) = exact.iter().find(|(known, _)| *known == name) {
        return Some((*index, b""));
    }
    let prefixes: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    prefixes.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)))
}

/// Whether an inode with `mode` can have all these attributes.
pub(crate) fn fit(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, mode: u16) -> bool {
    place(xattrs, mode, XATTR_ROOM).is_ok()
}

/// Whether ext4 can store an attribute of that name at all.
pub(crate) fn is_storable(name: &[u8]) -> bool {
    split(name).is_some()
}

impl Attribute {
    fn entry_size(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4)
    }

    fn size(&self) -> usize {
        self.entry_size() + self.value.len().next_multiple_of(4)
    }

    /// `ext4_xattr_hash_entry`: over the name's bytes and the value's words.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "names have at most 255 bytes, values at most a block"
    )]
    fn write_entry(&self, area: &mut [u8], at: usize, value_offset: usize) {
        area[at] = self.name.len() as u8;
        area[at + 1] = self.index;
        put(area, at + 2, (value_offset as u16).to_le_bytes());
        put(area, at + 8, (self.value.len() as u32).to_le_bytes());
        put(area, at + 12, self.hash().to_le_bytes());
        area[at + ENTRY..at + ENTRY + self.name.len()].copy_from_slice(&self.name);
    }
}

/// Entries grow from `first`, values from the area's end; offsets are counted from `base`.
fn fill(area: &mut [u8], first: usize, base: usize, attributes: &[Attribute]) {
    let (mut entry, mut value) = (first, area.len());
    for attribute in attributes {
        value -= attribute.value.len().next_multiple_of(4);
        area[value..value + attribute.value.len()].copy_from_slice(&attribute.value);
        // An empty value has no place.
        let offset = if attribute.value.is_empty() { 0 } else { value - base };
        attribute.write_entry(area, entry, offset);
        entry += attribute.entry_size();
    }
}

fn in_inode(attributes: &[Attribute], room: usize) -> Vec<u8> {
    let mut area = vec![0; room];
    put(&mut area, 0, MAGIC.to_le_bytes());
    fill(&mut area, 4, 4, attributes);
    area
}

fn block(attributes: &[Attribute]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    put(&mut block, 0, MAGIC.to_le_bytes());
    put(&mut block, 4, 1_u32.to_le_bytes());
    put(&mut block, 8, 1_u32.to_le_bytes());
    let hash = attributes.iter().fold(0_u32, |hash, attribute| hash.rotate_left(16) ^ attribute.hash());
    put(&mut block, 12, hash.to_le_bytes());
    fill(&mut block, BLOCK_HEADER, 0, attributes);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattrs(pairs: &[(&str, usize)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        pairs.iter().map(|(name, size)| (name.as_bytes().to_vec(), vec![b'v'; *size])).collect()
    }

    #[test]
    fn small_attributes_stay_in_the_inode() {
        let placed = place(&xattrs(&[("trusted.overlay.opaque", 1)]), 0, 96).unwrap();
        assert_eq!((placed.in_inode.len(), placed.block), (96, None));
        let placed = place(&xattrs(&[("security.capability", 20), ("user.k", 80)]), 0, 96).unwrap();
        assert!(!placed.in_inode.is_empty() && placed.block.is_some());
        assert_eq!(place(&BTreeMap::new(), 0, 96), Ok(Placed::default()));
    }

    #[test]
    fn more_than_a_block_is_refused() {
        assert!(place(&xattrs(&[("user.a", 4096 - 32 - 4 - 20)]), 0, 96).is_ok());
        assert_eq!(place(&xattrs(&[("user.a", 4096 - 32 - 4 - 16)]), 0, 96), Err(Refused::TooLarge));
    }

    #[test]
    fn the_hash_is_the_kernels() {
        // From fs/ext4/xattr.c: name "k" gives 0x6b; value "v" is one word 0x76.
        let attribute = Attribute { index: 1, name: b"k".to_vec(), value: b"v".to_vec() };
        assert_eq!(attribute.hash(), 0x6b_u32.rotate_left(16) ^ 0x76);
    }
}
