//! The superblock of a file system of any maker: parsed, and refused where its numbers cannot be.

use larder_core::ByteSize;

use super::bytes::{joined, u16_at, u32_at, uuid_at};
use super::error::{Object, ReadError};
use crate::ext4::checksum::{Seed, raw};
use crate::ext4::geometry;

/// Where the superblock stands, and how long it is.
pub(super) const OFFSET: u64 = 1024;
pub(super) const LENGTH: usize = 1024;
const CHECKSUM_AT: usize = 0x3fc;
const RO_COMPAT: usize = 0x64;
const MAGIC: u16 = 0xef53;
/// Blocks of 64 TiB, the most that a cloud's disk has; bitmaps of all of them still fit in memory.
const MAX_BLOCKS: u64 = 1 << 34;
/// Groups of 64 TiB in blocks of 4 KiB are half as many; their descriptors take 64 MiB.
const MAX_GROUPS: u64 = 1 << 20;
/// 32 KiB; above that, directory entries count their length otherwise.
const MAX_LOG_BLOCK: u32 = 5;
const MIN_INODE: u16 = 128;
const CRC32C: u8 = 1;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_RESIZE_INODE: u32 = 0x10;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const COMPAT_ORPHAN_FILE: u32 = 0x1000;

const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_EXTENTS: u32 = 0x40;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_MMP: u32 = 0x100;
const INCOMPAT_FLEX_BG: u32 = 0x200;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const INCOMPAT_LARGEDIR: u32 = 0x4000;
const INCOMPAT_KNOWN: u32 = INCOMPAT_FILETYPE
    | INCOMPAT_RECOVER
    | INCOMPAT_EXTENTS
    | INCOMPAT_64BIT
    | INCOMPAT_MMP
    | INCOMPAT_FLEX_BG
    | INCOMPAT_CSUM_SEED
    | INCOMPAT_LARGEDIR;

const RO_SPARSE_SUPER: u32 = 0x1;
const RO_HUGE_FILE: u32 = 0x8;
const RO_GDT_CSUM: u32 = 0x10;
const RO_METADATA_CSUM: u32 = 0x400;
const RO_PROJECT: u32 = 0x2000;
/// `large_file`, `btree_dir`, `dir_nlink`, `extra_isize`, quota, readonly, verity, `orphan_present`.
const RO_KNOWN: u32 = RO_SPARSE_SUPER
    | 0x2
    | 0x4
    | RO_HUGE_FILE
    | RO_GDT_CSUM
    | 0x20
    | 0x40
    | 0x100
    | RO_METADATA_CSUM
    | 0x1000
    | RO_PROJECT
    | 0x8000
    | 0x1_0000;

const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;

/// Which checksums the metadata carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Checksums {
    /// None.
    Absent,
    /// Those of the group descriptors alone (`uninit_bg`), crc16.
    Groups,
    /// All (`metadata_csum`), crc32c.
    All(Seed),
}

/// A superblock whose numbers fit together.
#[derive(Clone, Debug)]
pub(crate) struct Superblock {
    pub(super) inodes: u32,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u32,
    /// The first block of group 0: 1 where blocks have 1 KiB.
    pub(super) first_block: u64,
    pub(super) block_size: usize,
    pub(super) blocks_per_group: u64,
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: usize,
    pub(super) first_inode: u32,
    pub(super) descriptor_size: usize,
    /// Blocks behind the descriptors that are kept for more of them (`resize_inode`).
    pub(super) reserved_descriptors: u64,
    pub(super) uuid: [u8; 16],
    pub(super) checksums: Checksums,
    pub(super) last_orphan: u32,
    /// The block of the multiple mount protection, where there is any.
    pub(super) mmp_block: Option<u64>,
    /// Inodes that belong to the file system itself, and have no name.
    pub(super) nameless: [Option<u32>; 2],
    pub(super) journal: Option<u32>,
    state: u16,
    compat: u32,
    incompat: u32,
    ro_compat: u32,
    backup_groups: [u32; 2],
}

impl Superblock {
    /// Reads a superblock; `object` says which one it is.
    pub(super) fn parse(bytes: &[u8; LENGTH], object: Object) -> Result<Self, ReadError> {
        if u16_at(bytes, 0x38) != MAGIC {
            return Err(ReadError::NotExt4);
        }
        let (compat, incompat, ro_compat) =
            (u32_at(bytes, 0x5c), u32_at(bytes, 0x60), u32_at(bytes, RO_COMPAT));
        let uuid = uuid_at(bytes, 0x68);
        let checksums = checksums(bytes, &uuid, object)?;
        supported(incompat, ro_compat)?;
        let damaged = |what: &'static str| ReadError::damaged(object, what);
        let log_block = u32_at(bytes, 0x18);
        if log_block > MAX_LOG_BLOCK || u32_at(bytes, 0x1c) != log_block {
            return Err(damaged("its block size cannot be"));
        }
        let block_size = 1024_usize << log_block;
        let wide = incompat & INCOMPAT_64BIT != 0;
        let high = |at| if wide { u32_at(bytes, at) } else { 0 };
        let has = |feature| compat & feature != 0;
        let superblock = Self {
            inodes: u32_at(bytes, 0x00),
            blocks: joined(u32_at(bytes, 0x04), high(0x150)),
            free_blocks: joined(u32_at(bytes, 0x0c), high(0x158)),
            free_inodes: u32_at(bytes, 0x10),
            first_block: u64::from(u32_at(bytes, 0x14)),
            block_size,
            blocks_per_group: u64::from(u32_at(bytes, 0x20)),
            inodes_per_group: u32_at(bytes, 0x28),
            inode_size: usize::from(u16_at(bytes, 0x58)),
            first_inode: u32_at(bytes, 0x54),
            descriptor_size: if wide { usize::from(u16_at(bytes, 0xfe)) } else { 32 },
            reserved_descriptors: if has(COMPAT_RESIZE_INODE) { u16_at(bytes, 0xce).into() } else { 0 },
            uuid,
            checksums,
            last_orphan: u32_at(bytes, 0xe8),
            mmp_block: (incompat & INCOMPAT_MMP != 0)
                .then(|| joined(u32_at(bytes, 0x168), u32_at(bytes, 0x16c))),
            nameless: [
                has(COMPAT_ORPHAN_FILE).then(|| u32_at(bytes, 0x280)),
                (ro_compat & RO_PROJECT != 0).then(|| u32_at(bytes, 0x26c)),
            ],
            journal: has(COMPAT_HAS_JOURNAL).then(|| u32_at(bytes, 0xe0)),
            state: u16_at(bytes, 0x3a),
            compat,
            incompat,
            ro_compat,
            backup_groups: [u32_at(bytes, 0x24c), u32_at(bytes, 0x250)],
        };
        superblock.plausible().map_err(damaged)?;
        Ok(superblock)
    }

    /// Whether sizes and counts fit together; everything else relies on this.
    fn plausible(&self) -> Result<(), &'static str> {
        let bits = self.block_size as u64 * 8;
        let inode_size_fits = self.inode_size.is_power_of_two()
            && self.inode_size >= usize::from(MIN_INODE)
            && self.inode_size <= self.block_size;
        let checks = [
            (inode_size_fits, "its inode size cannot be"),
            (
                matches!(self.descriptor_size, 32 | 64 | 128 | 256 | 512 | 1024),
                "its descriptor size cannot be",
            ),
            (self.first_block == u64::from(self.block_size == 1024), "its first block cannot be"),
            (self.blocks > self.first_block && self.blocks <= MAX_BLOCKS, "its number of blocks cannot be"),
            (
                (8..=bits).contains(&self.blocks_per_group) && self.blocks_per_group.is_multiple_of(8),
                "its blocks per group cannot be",
            ),
            (
                (8..=bits).contains(&u64::from(self.inodes_per_group))
                    && self.inodes_per_group.is_multiple_of(8),
                "its inodes per group cannot be",
            ),
            (self.first_inode >= 11, "its first inode cannot be"),
            (
                self.free_blocks <= self.blocks && self.free_inodes <= self.inodes,
                "it counts more free than there is",
            ),
        ];
        if let Some((_, what)) = checks.into_iter().find(|(fits, _)| !fits) {
            return Err(what);
        }
        if self.groups() > MAX_GROUPS {
            return Err("it has too many groups");
        }
        if u64::from(self.inodes) != self.groups() * u64::from(self.inodes_per_group) {
            return Err("its number of inodes does not match its groups");
        }
        Ok(())
    }

    /// Refuses a file or device of `available` bytes that ends too early.
    pub(super) fn fits(&self, available: u64) -> Result<(), ReadError> {
        let needed = self.size();
        if needed <= available {
            return Ok(());
        }
        Err(ReadError::Truncated { needed: ByteSize(needed), available: ByteSize(available) })
    }

    /// Bytes of the file system.
    pub(super) fn size(&self) -> u64 {
        self.blocks * self.block_size as u64
    }

    pub(super) fn groups(&self) -> u64 {
        (self.blocks - self.first_block).div_ceil(self.blocks_per_group)
    }

    /// The blocks of a group.
    pub(super) fn group_blocks(&self, group: u64) -> std::ops::Range<u64> {
        let start = self.first_block + group * self.blocks_per_group;
        start..self.blocks.min(start + self.blocks_per_group)
    }

    /// Blocks that all descriptors take.
    pub(super) fn descriptor_blocks(&self) -> u64 {
        (self.groups() * self.descriptor_size as u64).div_ceil(self.block_size as u64)
    }

    pub(super) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * self.inode_size as u64).div_ceil(self.block_size as u64)
    }

    /// Whether a group begins with the superblock or a copy of it.
    pub(super) fn has_copy(&self, group: u64) -> bool {
        if self.compat & COMPAT_SPARSE_SUPER2 != 0 {
            return group == 0 || self.backup_groups.iter().any(|backup| u64::from(*backup) == group);
        }
        self.ro_compat & RO_SPARSE_SUPER == 0 || geometry::has_superblock(group)
    }

    /// Whether `bytes` of a copy agree with this one where nothing ever changes.
    pub(super) fn agrees_with(&self, copy: &Self) -> bool {
        (self.uuid, self.blocks, self.inodes, self.block_size, self.inode_size, self.blocks_per_group)
            == (copy.uuid, copy.blocks, copy.inodes, copy.block_size, copy.inode_size, copy.blocks_per_group)
    }

    pub(super) fn has_file_types(&self) -> bool {
        self.incompat & INCOMPAT_FILETYPE != 0
    }

    pub(super) fn counts_huge_files(&self) -> bool {
        self.ro_compat & RO_HUGE_FILE != 0
    }

    /// Whether groups may say that a bitmap was never written.
    pub(super) fn has_uninitialised_groups(&self) -> bool {
        self.ro_compat & (RO_GDT_CSUM | RO_METADATA_CSUM) != 0
    }

    /// The journal holds changes that were never carried out.
    pub(super) fn needs_recovery(&self) -> bool {
        self.incompat & INCOMPAT_RECOVER != 0
    }

    /// Something found errors in it.
    pub(super) fn has_errors(&self) -> bool {
        self.state & STATE_ERRORS != 0
    }

    /// It was unmounted as it should be.
    pub(super) fn is_clean(&self) -> bool {
        self.state & STATE_VALID != 0 && self.last_orphan == 0 && !self.needs_recovery()
    }
}

fn checksums(bytes: &[u8; LENGTH], uuid: &[u8; 16], object: Object) -> Result<Checksums, ReadError> {
    let (incompat, ro_compat) = (u32_at(bytes, 0x60), u32_at(bytes, RO_COMPAT));
    if ro_compat & RO_METADATA_CSUM == 0 {
        if had_checksums(bytes, ro_compat) {
            return Err(ReadError::Checksum(object));
        }
        let groups = ro_compat & RO_GDT_CSUM != 0;
        return Ok(if groups { Checksums::Groups } else { Checksums::Absent });
    }
    if bytes[0x175] != CRC32C {
        return Err(ReadError::damaged(object, "its kind of checksum is unknown"));
    }
    if raw(!0, &bytes[..CHECKSUM_AT]) != u32_at(bytes, CHECKSUM_AT) {
        return Err(ReadError::Checksum(object));
    }
    let stored_seed = incompat & INCOMPAT_CSUM_SEED != 0;
    Ok(Checksums::All(if stored_seed { Seed::stored(u32_at(bytes, 0x270)) } else { Seed::new(uuid) }))
}

/// Whether a superblock without checksums has the one that was right with them: the damage of a single bit must not end all checks.
fn had_checksums(bytes: &[u8; LENGTH], ro_compat: u32) -> bool {
    let mut before = *bytes;
    before[RO_COMPAT..RO_COMPAT + 4].copy_from_slice(&(ro_compat | RO_METADATA_CSUM).to_le_bytes());
    raw(!0, &before[..CHECKSUM_AT]) == u32_at(bytes, CHECKSUM_AT)
}

/// Refuses features under which the rest would mean something else.
fn supported(incompat: u32, ro_compat: u32) -> Result<(), ReadError> {
    if incompat & INCOMPAT_EXTENTS == 0 {
        return Err(ReadError::unsupported("ext2 or ext3, without extents"));
    }
    let named = [
        (incompat & 0x1, "compression"),
        (incompat & 0x8, "an external journal"),
        (incompat & 0x10, "meta_bg"),
        (incompat & 0x400, "ea_inode"),
        (incompat & 0x8000, "inline_data"),
        (incompat & 0x1_0000, "encryption"),
        (incompat & 0x2_0000, "casefold"),
        (ro_compat & 0x200, "bigalloc"),
        (ro_compat & 0x4000, "shared_blocks"),
    ];
    if let Some((_, name)) = named.into_iter().find(|(bit, _)| *bit != 0) {
        return Err(ReadError::unsupported(format!("the feature {name}")));
    }
    let unknown = (incompat & !INCOMPAT_KNOWN, ro_compat & !RO_KNOWN);
    if unknown != (0, 0) {
        return Err(ReadError::unsupported(format!("the features {:#x} and {:#x}", unknown.0, unknown.1)));
    }
    Ok(())
}
