//! Directory blocks: a list of entries, with a hash tree over the blocks where there is more than one (`ext4/namei.c`).

use super::checksum::{Seed, raw};
use super::{BLOCK, put};

/// The fixed part of an entry; the name follows, padded to four bytes.
const ENTRY: usize = 8;
/// The checksum at the end of a block of entries, dressed as an entry.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;
const DIRECTORY_TYPE: u8 = 2;
/// Where the index entries begin: after `.`, `..` and the tree's header; or after an empty entry.
const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;
/// Index entries that fit, with eight bytes of checksum behind them.
const IN_ROOT: usize = (BLOCK - ROOT_ENTRIES - 8) / 8;
const IN_NODE: usize = (BLOCK - NODE_ENTRIES - 8) / 8;
/// The unsigned half-MD4 hash; which kind of `char` it is computed with is in the superblock's flags.
const HALF_MD4: u8 = 1;

/// An entry to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    /// `EXT4_FT_*`.
    pub(super) kind: u8,
}

/// A directory, without its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) inode: u32,
    pub(super) parent: u32,
}

/// The blocks of a directory, and whether a hash tree is in them.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) bytes: Vec<u8>,
    pub(super) indexed: bool,
}

/// Lays out a directory with `entries`, which do not hold `.` and `..`; none if there are too many for a tree of two levels.
pub(super) fn lay_out(seed: Seed, place: Place, entries: &[Entry<'_>]) -> Option<Blocks> {
    let dots = [
        Entry { name: b".", inode: place.inode, kind: DIRECTORY_TYPE },
        Entry { name: b"..", inode: place.parent, kind: DIRECTORY_TYPE },
    ];
    let all: Vec<Entry<'_>> = dots.iter().chain(entries).copied().collect();
    let inode_seed = seed.inode(place.inode);
    if all.iter().map(Entry::size).sum::<usize>() <= BLOCK - TAIL {
        return Some(Blocks { bytes: leaf(inode_seed, &all), indexed: false });
    }
    Some(Blocks { bytes: hash_tree(inode_seed, dots, entries)?, indexed: true })
}

impl Entry<'_> {
    fn size(&self) -> usize {
        ENTRY + self.name.len().next_multiple_of(4)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most a block, and at most 255 bytes of name")]
    fn write(&self, block: &mut [u8], at: usize, length: usize) {
        put(block, at, self.inode.to_le_bytes());
        put(block, at + 4, (length as u16).to_le_bytes());
        block[at + 6] = self.name.len() as u8;
        block[at + 7] = self.kind;
        block[at + ENTRY..at + ENTRY + self.name.len()].copy_from_slice(self.name);
    }
}

/// A block of entries; the last one reaches to the checksum.
fn leaf(inode_seed: u32, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    for (position, entry) in entries.iter().enumerate() {
        let last = position + 1 == entries.len();
        let length = if last { BLOCK - TAIL - at } else { entry.size() };
        entry.write(&mut block, at, length);
        at += length;
    }
    let tail = BLOCK - TAIL;
    put(&mut block, tail + 4, [12, 0, 0, TAIL_TYPE]);
    let sum = raw(inode_seed, &block[..tail]);
    put(&mut block, tail + 8, sum.to_le_bytes());
    block
}

/// The root of the tree, then its inner nodes if there are any, then the leaves.
fn hash_tree(inode_seed: u32, dots: [Entry<'_>; 2], entries: &[Entry<'_>]) -> Option<Vec<u8>> {
    let mut hashed: Vec<(u32, Entry<'_>)> = entries.iter().map(|entry| (hash(entry.name), *entry)).collect();
    hashed.sort_by(|a, b| (a.0, a.1.name).cmp(&(b.0, b.1.name)));
    let leaves = split_leaves(&hashed);
    if leaves.len() > IN_ROOT * IN_NODE {
        return None;
    }
    let inner = if leaves.len() > IN_ROOT { leaves.len().div_ceil(IN_NODE) } else { 0 };
    let first_leaf = 1 + inner;
    // An odd hash says that its first names have the same hash as the last ones of the block before.
    let mut previous = None;
    let index: Vec<(u32, usize)> = leaves
        .iter()
        .enumerate()
        .map(|(number, leaf)| {
            let continued = u32::from(previous == Some(leaf[0].0));
            previous = leaf.last().map(|(hash, _)| *hash);
            (leaf[0].0 | continued, first_leaf + number)
        })
        .collect();
    let nodes: Vec<&[(u32, usize)]> = if inner > 0 { index.chunks(IN_NODE).collect() } else { Vec::new() };
    let top: Vec<(u32, usize)> = if inner > 0 {
        nodes.iter().enumerate().map(|(number, node)| (node[0].0, 1 + number)).collect()
    } else {
        index.clone()
    };
    let mut bytes = root(inode_seed, dots, &top, u8::from(inner > 0));
    bytes.extend(nodes.iter().flat_map(|node| inner_node(inode_seed, node)));
    bytes.extend(leaves.iter().flat_map(|part| {
        let entries: Vec<Entry<'_>> = part.iter().map(|(_, entry)| *entry).collect();
        leaf(inode_seed, &entries)
    }));
    Some(bytes)
}

/// Fills block after block, in the order of the hashes.
fn split_leaves<'a, 'b>(hashed: &'a [(u32, Entry<'b>)]) -> Vec<&'a [(u32, Entry<'b>)]> {
    let mut leaves = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (position, (_, entry)) in hashed.iter().enumerate() {
        if size + entry.size() > BLOCK - TAIL {
            leaves.push(&hashed[start..position]);
            (start, size) = (position, 0);
        }
        size += entry.size();
    }
    leaves.push(&hashed[start..]);
    leaves
}

fn root(inode_seed: u32, dots: [Entry<'_>; 2], index: &[(u32, usize)], levels: u8) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    dots[0].write(&mut block, 0, dots[0].size());
    dots[1].write(&mut block, dots[0].size(), BLOCK - dots[0].size());
    // dx_root_info: reserved, hash version, its own length, levels below the root.
    put(&mut block, ROOT_ENTRIES - 4, [HALF_MD4, 8, levels, 0]);
    write_index(inode_seed, &mut block, ROOT_ENTRIES, IN_ROOT, index);
    block
}

#[expect(clippy::cast_possible_truncation, reason = "a block's length")]
fn inner_node(inode_seed: u32, index: &[(u32, usize)]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    put(&mut block, 4, (BLOCK as u16).to_le_bytes());
    write_index(inode_seed, &mut block, NODE_ENTRIES, IN_NODE, index);
    block
}

/// The first entry's hash is implied; its place holds the limit and the count.
#[expect(
    clippy::cast_possible_truncation,
    reason = "at most 510 entries a node, and 2^18 blocks a directory"
)]
fn write_index(inode_seed: u32, block: &mut [u8], first: usize, limit: usize, index: &[(u32, usize)]) {
    for (slot, (hash, child)) in index.iter().enumerate() {
        put(block, first + slot * 8, hash.to_le_bytes());
        put(block, first + slot * 8 + 4, (*child as u32).to_le_bytes());
    }
    put(block, first, (limit as u16).to_le_bytes());
    put(block, first + 2, (index.len() as u16).to_le_bytes());
    let sum = raw(inode_seed, &block[..first + index.len() * 8]);
    // dx_tail: four reserved bytes and the checksum itself count as zeros.
    let sum = raw(sum, &[0; 8]);
    put(block, first + limit * 8 + 4, sum.to_le_bytes());
}

/// The half-MD4 hash of a name with an all-zero seed, as `ext4fs_dirhash` computes it.
fn hash(name: &[u8]) -> u32 {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut rest = name;
    while !rest.is_empty() {
        half_md4(&mut state, &words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    // 0xfffffffe means the end of a directory to readdir.
    match state[1] & !1 {
        0xffff_fffe => 0xffff_fffc,
        hash => hash,
    }
}

/// Up to 32 bytes of `text` as big-endian words, padded with the length of all that is left.
#[expect(clippy::cast_possible_truncation, reason = "names have at most 255 bytes")]
fn words(text: &[u8]) -> [u32; 8] {
    let length = text.len() as u32;
    let pad = (length | length << 8) | (length | length << 8) << 16;
    let mut words = [pad; 8];
    for (word, chunk) in words.iter_mut().zip(text.chunks(4)) {
        *word = chunk.iter().fold(pad, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

fn half_md4(state: &mut [u32; 4], input: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    let rounds: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in rounds {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(input[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (state, value) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_debugfs_says() {
        // debugfs -R "dx_hash -h half_md4 NAME"
        let table = [
            ("a", 0xd5fa_7d7a),
            ("etc", 0x0cf6_5492),
            ("a-name-that-is-longer-than-thirty-two-bytes.txt", 0x64c3_37ba_u32),
        ];
        for (name, expected) in table {
            assert_eq!(format!("{:#x}", hash(name.as_bytes())), format!("{expected:#x}"), "{name}");
        }
    }

    #[test]
    fn a_small_directory_is_one_block() {
        let seed = Seed::new(&[0; 16]);
        let entries = [Entry { name: b"file", inode: 12, kind: 1 }];
        let blocks = lay_out(seed, Place { inode: 2, parent: 2 }, &entries).unwrap();
        assert_eq!((blocks.bytes.len(), blocks.indexed), (BLOCK, false));
    }

    #[test]
    fn a_large_directory_holds_every_name_in_its_leaves() {
        let names: Vec<String> = (0..200_000).map(|n| format!("a-rather-long-file-name-{n:06}")).collect();
        let entries: Vec<Entry<'_>> =
            names.iter().map(|name| Entry { name: name.as_bytes(), inode: 12, kind: 1 }).collect();
        let blocks = lay_out(Seed::new(&[0; 16]), Place { inode: 2, parent: 2 }, &entries).unwrap();
        assert!(blocks.indexed);
        assert_eq!(blocks.bytes[ROOT_ENTRIES - 2], 1, "two levels");
        let count = |node: &[u8], at: usize| usize::from(u16::from_le_bytes([node[at + 2], node[at + 3]]));
        let inner = count(&blocks.bytes, ROOT_ENTRIES);
        let leaves: usize = (1..=inner).map(|node| count(&blocks.bytes[node * BLOCK..], NODE_ENTRIES)).sum();
        assert_eq!(blocks.bytes.len(), (1 + inner + leaves) * BLOCK);
    }

    #[test]
    fn more_than_two_levels_hold_are_refused() {
        let name = [b'n'; 255];
        // Fifteen such names fill a block.
        let entries = vec![Entry { name: &name, inode: 12, kind: 1 }; 15 * IN_ROOT * IN_NODE + 1];
        assert!(lay_out(Seed::new(&[0; 16]), Place { inode: 2, parent: 2 }, &entries).is_none());
    }
}
