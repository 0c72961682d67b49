//! The extent tree of one inode: four extents in the inode itself, or leaves and index blocks below it (`ext4_extents.h`).

use super::checksum::{Seed, raw};
use super::{BLOCK, put};
use crate::tree::Extent;

const MAGIC: u16 = 0xf30a;
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// Entries in the 60 bytes of `i_block`.
const IN_INODE: usize = 4;
/// Entries in a block; the four bytes left are its checksum.
const IN_BLOCK: usize = (BLOCK - HEADER) / ENTRY;

/// The bytes of `i_block`.
pub(super) type Root = [u8; 60];

/// One block of the tree and where it goes.
pub(super) type TreeBlock = (u64, Vec<u8>);

/// How many blocks the tree of so many extents needs beside the inode.
pub(super) fn blocks_needed(extents: usize) -> usize {
    let (mut nodes, mut total) = (extents, 0);
    while nodes > IN_INODE {
        nodes = nodes.div_ceil(IN_BLOCK);
        total += nodes;
    }
    total
}

/// Builds the tree of inode `number`; `places` are as many blocks as [`blocks_needed`] says.
pub(super) fn build(seed: Seed, number: u32, extents: &[Extent], places: &[u64]) -> (Root, Vec<TreeBlock>) {
    let mut places = places.iter().copied();
    let mut entries: Vec<(u32, [u8; ENTRY])> = extents.iter().map(leaf_entry).collect();
    let mut blocks = Vec::new();
    let mut depth = 0;
    while entries.len() > IN_INODE {
        let level = entries.chunks(IN_BLOCK).zip(&mut places).map(|(chunk, place)| {
            let mut block = vec![0; BLOCK];
            write_node(&mut block, chunk, IN_BLOCK, depth);
            let tail = HEADER + IN_BLOCK * ENTRY;
            let sum = raw(seed.inode(number), &block[..tail]);
            put(&mut block, tail, sum.to_le_bytes());
            blocks.push((place, block));
            index_entry(chunk[0].0, place)
        });
        entries = level.collect();
        depth += 1;
    }
    let mut root = [0; 60];
    write_node(&mut root, &entries, IN_INODE, depth);
    (root, blocks)
}

#[expect(clippy::cast_possible_truncation, reason = "at most 340 entries")]
fn write_node(node: &mut [u8], entries: &[(u32, [u8; ENTRY])], capacity: usize, depth: u16) {
    put(node, 0, MAGIC.to_le_bytes());
    put(node, 2, (entries.len() as u16).to_le_bytes());
    put(node, 4, (capacity as u16).to_le_bytes());
    put(node, 6, depth.to_le_bytes());
    for (slot, (_, entry)) in entries.iter().enumerate() {
        put(node, HEADER + slot * ENTRY, *entry);
    }
}

fn leaf_entry(extent: &Extent) -> (u32, [u8; ENTRY]) {
    let mut entry = [0; ENTRY];
    let (low, high) = split(extent.physical);
    put(&mut entry, 0, extent.logical.to_le_bytes());
    put(&mut entry, 4, extent.length.to_le_bytes());
    put(&mut entry, 6, high.to_le_bytes());
    put(&mut entry, 8, low.to_le_bytes());
    (extent.logical, entry)
}

fn index_entry(logical: u32, child: u64) -> (u32, [u8; ENTRY]) {
    let mut entry = [0; ENTRY];
    let (low, high) = split(child);
    put(&mut entry, 0, logical.to_le_bytes());
    put(&mut entry, 4, low.to_le_bytes());
    put(&mut entry, 8, high.to_le_bytes());
    (logical, entry)
}

/// The low 32 and the next 16 bits of a block number.
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
fn split(block: u64) -> (u32, u16) {
    (block as u32, (block >> 32) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_grows_a_level_when_a_node_is_full() {
        let table = [(0, 0), (4, 0), (5, 1), (340, 1), (341, 2), (1360, 4), (1361, 6), (340 * 4 + 1, 6)];
        for (extents, blocks) in table {
            assert_eq!(blocks_needed(extents), blocks, "{extents} extents");
        }
    }

    #[test]
    fn every_extent_is_below_the_root() {
        let seed = Seed::new(&[1; 16]);
        let extents: Vec<Extent> = (0..2000_u32)
            .map(|n| Extent { logical: n * 2, length: 1, physical: 1000 + u64::from(n) })
            .collect();
        let places: Vec<u64> = (0..blocks_needed(extents.len()) as u64).map(|n| 9000 + n).collect();
        let (root, blocks) = build(seed, 12, &extents, &places);
        assert_eq!(blocks.iter().map(|(place, _)| *place).collect::<Vec<_>>(), places);
        assert_eq!(u16::from_le_bytes([root[6], root[7]]), 2);
        let entries = |node: &[u8]| usize::from(u16::from_le_bytes([node[2], node[3]]));
        let leaves: usize = blocks.iter().filter(|(_, b)| b[6] == 0).map(|(_, b)| entries(b)).sum();
        assert_eq!(leaves, extents.len());
    }
}
