//! The journal's own superblock (jbd2; big-endian). What the journal holds does not matter where nothing is to be carried out.

use super::Check;
use crate::ext4::checksum::raw;
use crate::ext4::read::bytes::be32_at;
use crate::ext4::read::error::{Object, ReadError};

/// Bytes of a journal's superblock.
const LENGTH: usize = 1024;
const MAGIC: u32 = 0xc03b_3998;
const VERSION_1: u32 = 3;
const VERSION_2: u32 = 4;
/// Checksums of commits; all that may be there without harm.
const COMPAT_KNOWN: u32 = 0x1;
/// Revocations, 64 bits, asynchronous commits, checksums of versions 2 and 3, fast commits.
const INCOMPAT_KNOWN: u32 = 0x3f;
const INCOMPAT_CHECKSUMS: u32 = 0x18;
const CHECKSUM_AT: usize = 0xfc;
const CRC32C: u8 = 4;

impl Check<'_> {
    pub(super) fn journal(&mut self) {
        let Some(number) = self.fs.superblock.journal else { return };
        let first = self.fs.inode(number).and_then(|inode| {
            let runs = self.fs.extents(&inode)?.runs;
            let first = runs.first().filter(|run| run.logical == 0 && run.written);
            let first = first.ok_or_else(|| ReadError::damaged(Object::Journal, "it has no first block"))?;
            Ok((inode.size, self.fs.block(first.physical)?))
        });
        let Some((size, first)) = self.findings.note(first) else { return };
        if let Some(what) = wrong(&first[..LENGTH], size, self.fs.superblock.block_size as u64) {
            self.damaged(Object::Journal, what);
        }
    }
}

/// What is wrong with the superblock of a journal of `size` bytes, if anything is.
fn wrong(block: &[u8], size: u64, block_size: u64) -> Option<&'static str> {
    let (version, length, first) = (be32_at(block, 4), be32_at(block, 0x10), be32_at(block, 0x14));
    let is_journal = be32_at(block, 0) == MAGIC
        && matches!(version, VERSION_1 | VERSION_2)
        && u64::from(be32_at(block, 0x0c)) == block_size
        && u64::from(length) * block_size <= size
        && (1..length).contains(&first);
    match () {
        () if !is_journal => Some("it is no journal"),
        () if be32_at(block, 0x1c) != 0 => {
            Some("it holds changes, but the file system says that it was unmounted")
        }
        () if be32_at(block, 0x20) != 0 => Some("it was ended by an error"),
        () if version == VERSION_2 => wrong_features(block),
        () => None,
    }
}

/// The same for what only the second version has.
fn wrong_features(block: &[u8]) -> Option<&'static str> {
    let (compat, incompat, ro_compat) = (be32_at(block, 0x24), be32_at(block, 0x28), be32_at(block, 0x2c));
    if compat & !COMPAT_KNOWN != 0 || incompat & !INCOMPAT_KNOWN != 0 || ro_compat != 0 {
        return Some("it has unknown features");
    }
    if be32_at(block, 0x40) > 1 {
        return Some("it says that several file systems share it");
    }
    let mut zeroed = block.to_vec();
    zeroed[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
    let is_right = || block[0x50] == CRC32C && raw(!0, &zeroed) == be32_at(block, CHECKSUM_AT);
    (incompat & INCOMPAT_CHECKSUMS != 0 && !is_right()).then_some("its checksum is wrong")
}
