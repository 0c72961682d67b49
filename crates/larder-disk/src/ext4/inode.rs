//! The 256 bytes of an inode (`struct ext4_inode`).

use super::checksum::Seed;
use super::extents::Root;
use super::geometry::INODE;
use super::put;
use crate::tree::{Attributes, Time};

/// Bytes of fields behind the first 128 (`i_extra_isize`).
const EXTRA: u16 = 32;
/// What is left for extended attributes.
pub(super) const XATTR_ROOM: usize = INODE - 128 - EXTRA as usize;

const FLAG_INDEX: u32 = 0x1000;
const FLAG_EXTENTS: u32 = 0x8_0000;

/// An encoded inode.
pub(super) type Bytes = [u8; INODE];

/// What `i_block` holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Map {
    /// The root of an extent tree.
    Extents(Root),
    /// A symlink's target of less than 60 bytes.
    Inline(Root),
    /// A device's number.
    Device { major: u32, minor: u32 },
    /// Nothing: a fifo.
    Nothing,
}

/// An inode's fields.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) attributes: &'a Attributes,
    /// `S_IFMT`.
    pub(super) mode_type: u16,
    pub(super) size: u64,
    pub(super) links: u16,
    pub(super) map: Map,
    /// Blocks of content, extent tree and extended attributes.
    pub(super) blocks: u64,
    /// A hash tree is in the directory's blocks.
    pub(super) indexed: bool,
    pub(super) xattr_block: u64,
    pub(super) in_inode_xattrs: Vec<u8>,
}

/// Encodes inode `number`.
pub(super) fn encode(seed: Seed, number: u32, fields: &Fields<'_>) -> Bytes {
    let Attributes { mode, uid, gid, mtime, xattrs: _ } = fields.attributes;
    let mut inode: Bytes = [0; INODE];
    let (uid_low, uid_high) = halves(*uid);
    let (gid_low, gid_high) = halves(*gid);
    put(&mut inode, 0x00, (fields.mode_type | mode).to_le_bytes());
    put(&mut inode, 0x02, uid_low);
    put(&mut inode, 0x18, gid_low);
    put(&mut inode, 0x78, uid_high);
    put(&mut inode, 0x7a, gid_high);
    let size = fields.size.to_le_bytes();
    put(&mut inode, 0x04, [size[0], size[1], size[2], size[3]]);
    put(&mut inode, 0x6c, [size[4], size[5], size[6], size[7]]);
    put(&mut inode, 0x1a, fields.links.to_le_bytes());
    // i_blocks counts sectors of 512 bytes.
    let sectors = (fields.blocks * 8).to_le_bytes();
    put(&mut inode, 0x1c, [sectors[0], sectors[1], sectors[2], sectors[3]]);
    put(&mut inode, 0x74, [sectors[4], sectors[5]]);
    let xattr_block = fields.xattr_block.to_le_bytes();
    put(&mut inode, 0x68, [xattr_block[0], xattr_block[1], xattr_block[2], xattr_block[3]]);
    put(&mut inode, 0x76, [xattr_block[4], xattr_block[5]]);
    put(&mut inode, 0x80, EXTRA.to_le_bytes());
    put_times(&mut inode, *mtime);
    put_map(&mut inode, fields);
    let xattrs = 128 + usize::from(EXTRA);
    inode[xattrs..xattrs + fields.in_inode_xattrs.len()].copy_from_slice(&fields.in_inode_xattrs);
    seed.seal_inode(number, &mut inode);
    inode
}

fn put_map(inode: &mut Bytes, fields: &Fields<'_>) {
    let index = if fields.indexed { FLAG_INDEX } else { 0 };
    let (map, flags) = match fields.map {
        Map::Extents(root) => (root, FLAG_EXTENTS | index),
        Map::Inline(target) => (target, 0),
        Map::Device { major, minor } => (device(major, minor), 0),
        Map::Nothing => ([0; 60], 0),
    };
    put(inode, 0x28, map);
    put(inode, 0x20, flags.to_le_bytes());
}

/// All four times are the modification time: a tar has no other.
fn put_times(inode: &mut Bytes, time: Time) {
    let (low, extra) = encode_time(time);
    for (at, extra_at) in [(0x08, 0x8c), (0x0c, 0x84), (0x10, 0x88), (0x90, 0x94)] {
        put(inode, at, low);
        put(inode, extra_at, extra);
    }
}

/// 32 bits of seconds; then two bits more of them, and 30 bits of nanoseconds. Times beyond 1901-2446 are cut to that.
fn encode_time(time: Time) -> ([u8; 4], [u8; 4]) {
    let seconds = time.seconds.clamp(i64::from(i32::MIN), i64::from(i32::MIN) + (1 << 34) - 1);
    #[expect(clippy::cast_possible_truncation, reason = "the low bits; the next two are in the epoch")]
    let low = seconds as i32;
    #[expect(clippy::cast_sign_loss, reason = "0 to 3 after the clamp")]
    let epoch = ((seconds - i64::from(low)) >> 32) as u32;
    (low.to_le_bytes(), (epoch | time.nanoseconds << 2).to_le_bytes())
}

/// Small numbers in the old form, others in the new (`old_encode_dev`, `new_encode_dev`).
fn device(major: u32, minor: u32) -> Root {
    let mut map = [0; 60];
    if major < 256 && minor < 256 {
        put(&mut map, 0, (major << 8 | minor).to_le_bytes());
    } else {
        put(&mut map, 4, (minor & 0xff | major << 8 | (minor & !0xff) << 12).to_le_bytes());
    }
    map
}

fn halves(id: u32) -> ([u8; 2], [u8; 2]) {
    let [a, b, c, d] = id.to_le_bytes();
    ([a, b], [c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel decodes it (`ext4_decode_extra_time`).
    fn decode(time: Time) -> i64 {
        let (low, extra) = encode_time(time);
        i64::from(i32::from_le_bytes(low)) + (i64::from(u32::from_le_bytes(extra) & 3) << 32)
    }

    #[test]
    fn times_survive_from_1901_to_2446() {
        let last = i64::from(i32::MIN) + (1 << 34) - 1;
        for seconds in [i64::from(i32::MIN), -1, 0, 1_700_000_000, 1 << 31, 4_102_444_800, 1 << 33, last] {
            assert_eq!(decode(Time { seconds, nanoseconds: 999_999_999 }), seconds);
        }
        assert_eq!(decode(Time { seconds: i64::MAX, nanoseconds: 0 }), last);
    }
}
