//! Inodes as they are found on a disk.

use super::bytes::{joined, u16_at, u32_at};
use super::error::{Object, ReadError};
use super::superblock::{Checksums, Superblock};
use crate::ext4::checksum::raw;
use crate::tree::Time;

const TYPE_MASK: u16 = 0o170_000;
const GOOD_OLD_SIZE: usize = 128;
const GENERATION: usize = 0x64;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;
/// `i_block`.
const MAP: std::ops::Range<usize> = 0x28..0x64;

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_INDEX: u32 = 0x1000;
const FLAG_HUGE_FILE: u32 = 0x4_0000;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular,
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileType {
    fn of(mode: u16) -> Option<Self> {
        Some(match mode & TYPE_MASK {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharacterDevice,
            0o060_000 => Self::BlockDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// As directory entries hold it (`EXT4_FT_*`).
    pub(super) fn in_entries(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharacterDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// An inode in use.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) number: u32,
    pub(crate) file_type: FileType,
    /// The low 12 bits of `st_mode`.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) links: u16,
    pub(crate) mtime: Time,
    /// Units of 512 bytes that it occupies, with its extent tree and attributes.
    pub(crate) sectors: u64,
    pub(super) flags: u32,
    pub(super) generation: u32,
    pub(super) xattr_block: u64,
    pub(super) map: [u8; 60],
    /// What follows the fields: extended attributes, if they begin with their magic number.
    pub(super) rest: Vec<u8>,
}

impl Inode {
    /// Reads the record of inode `number`, which must be in use.
    pub(super) fn parse(superblock: &Superblock, number: u32, bytes: &[u8]) -> Result<Self, ReadError> {
        let object = Object::Inode(number);
        let damaged = |what: &'static str| ReadError::damaged(object, what);
        let extra = extra_size(bytes);
        if !checksum_is_right(superblock, number, bytes) {
            return Err(ReadError::Checksum(object));
        }
        let (mode, links) = (u16_at(bytes, 0x00), u16_at(bytes, 0x1a));
        if mode == 0 || links == 0 {
            return Err(damaged("it is named, but not in use"));
        }
        let file_type = FileType::of(mode).ok_or_else(|| damaged("its file type cannot be"))?;
        let rest = bytes.get(GOOD_OLD_SIZE + extra..).filter(|_| extra.is_multiple_of(4));
        let rest = rest.ok_or_else(|| damaged("its extra size cannot be"))?;
        let flags = u32_at(bytes, 0x20);
        if flags & (FLAG_ENCRYPTED | FLAG_INLINE_DATA) != 0 {
            return Err(damaged(
                "its content is encrypted or inline, which is not supported on a cache disk",
            ));
        }
        let extra_field = |at: usize| if at + 4 <= GOOD_OLD_SIZE + extra { u32_at(bytes, at) } else { 0 };
        let blocks = joined(u32_at(bytes, 0x1c), u32::from(u16_at(bytes, 0x74)));
        let unit = if flags & FLAG_HUGE_FILE != 0 { superblock.block_size as u64 / 512 } else { 1 };
        let Some(map) = bytes.get(MAP).and_then(|map| map.try_into().ok()) else {
            return Err(damaged("its record is too short"));
        };
        let inode = Self {
            number,
            file_type,
            mode: mode & 0o7777,
            uid: u32::from(u16_at(bytes, 0x02)) | u32::from(u16_at(bytes, 0x78)) << 16,
            gid: u32::from(u16_at(bytes, 0x18)) | u32::from(u16_at(bytes, 0x7a)) << 16,
            size: joined(u32_at(bytes, 0x04), u32_at(bytes, 0x6c)),
            links,
            mtime: time(u32_at(bytes, 0x10), extra_field(0x88)),
            sectors: if superblock.counts_huge_files() { blocks } else { blocks & 0xffff_ffff } * unit,
            flags,
            generation: u32_at(bytes, GENERATION),
            xattr_block: joined(u32_at(bytes, 0x68), u32::from(u16_at(bytes, 0x76))),
            map,
            rest: rest.to_vec(),
        };
        inode.plausible().map_err(damaged)?;
        Ok(inode)
    }

    fn plausible(&self) -> Result<(), &'static str> {
        if i64::try_from(self.size).is_err() {
            return Err("its size cannot be");
        }
        let maps_blocks = matches!(self.file_type, FileType::Regular | FileType::Directory);
        if maps_blocks && !self.has_extents() && (self.size > 0 || self.sectors > 0) && self.number >= 11 {
            return Err("its content is mapped without extents, which is not supported on a cache disk");
        }
        if self.file_type == FileType::Symlink && !self.has_extents() && self.size >= 60 {
            return Err("it is a symbolic link with a target that has no place");
        }
        Ok(())
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags & FLAG_EXTENTS != 0
    }

    /// A hash tree is in the directory's blocks.
    pub(super) fn is_indexed(&self) -> bool {
        self.flags & FLAG_INDEX != 0
    }

    /// The seed for the checksums of the inode's own blocks; none without such checksums.
    pub(super) fn seed(&self, superblock: &Superblock) -> Option<u32> {
        match superblock.checksums {
            Checksums::All(seed) => Some(seed.inode_of(self.number, self.generation)),
            Checksums::Absent | Checksums::Groups => None,
        }
    }

    /// Major and minor number of a device (`old_decode_dev`, `new_decode_dev`).
    pub(crate) fn device(&self) -> (u32, u32) {
        match (u32_at(&self.map, 0), u32_at(&self.map, 4)) {
            (0, new) => ((new & 0xf_ff00) >> 8, new & 0xff | new >> 12 & 0xf_ff00),
            (old, _) => (old >> 8 & 0xff, old & 0xff),
        }
    }
}

/// Whether a record was never written.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Bytes of fields behind the first 128.
fn extra_size(bytes: &[u8]) -> usize {
    if bytes.len() > GOOD_OLD_SIZE { usize::from(u16_at(bytes, 0x80)) } else { 0 }
}

/// Whether a record's checksum is right, if it has one.
pub(super) fn checksum_is_right(superblock: &Superblock, number: u32, bytes: &[u8]) -> bool {
    let Checksums::All(seed) = superblock.checksums else { return true };
    let wide = extra_size(bytes) >= CHECKSUM_HIGH + 2 - GOOD_OLD_SIZE;
    let mut zeroed = bytes.to_vec();
    let halves = [Some(CHECKSUM_LOW), wide.then_some(CHECKSUM_HIGH)];
    for at in halves.into_iter().flatten() {
        if let Some(half) = zeroed.get_mut(at..at + 2) {
            half.fill(0);
        }
    }
    let sum = raw(seed.inode_of(number, u32_at(bytes, GENERATION)), &zeroed);
    let stored = u32::from(u16_at(bytes, CHECKSUM_LOW));
    if wide { sum == stored | u32::from(u16_at(bytes, CHECKSUM_HIGH)) << 16 } else { sum & 0xffff == stored }
}

/// 32 bits of seconds, two bits more of them, and nanoseconds.
fn time(low: u32, extra: u32) -> Time {
    let seconds = i64::from(low.cast_signed()) + (i64::from(extra & 3) << 32);
    Time { seconds, nanoseconds: extra >> 2 }
}
