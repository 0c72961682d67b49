//! Whole disks: an image as the writer makes it, with and without its checksums, damaged.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::ext4::read::{FileSystem, ROOT, Window};
use crate::fixture::{Archive, Made, Scratch};
use larder_fuzz::{Mutator, Target};

/// The superblock, its flags of features that may be ignored by readers, and the one that says that there are checksums.
const SUPERBLOCK: usize = 1024;
const RO_COMPAT: usize = SUPERBLOCK + 0x64;
const METADATA_CSUM: u32 = 0x400;
/// The superblock's own checksum: a right one would tell that the others were there.
const SUPERBLOCK_SUM: usize = SUPERBLOCK + 0x3fc;

#[test]
fn damaged_disks_are_read_or_refused() {
    let whole = image();
    let without_checksums = without_checksums(whole.clone());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = std::fs::File::create(&path).unwrap();
    file.write_all_at(&whole, 0).unwrap();
    // An input is what differs from the whole image: whether it has checksums, then pieces of a place, a length and bytes.
    let mut read = |input: &[u8]| {
        let has_checksums = input.first().is_some_and(|first| first % 2 == 1);
        let pieces = damage(input.get(1..).unwrap_or_default(), whole.len());
        let flags = if has_checksums { &whole } else { &without_checksums };
        file.write_all_at(&flags[SUPERBLOCK..SUPERBLOCK + 1024], SUPERBLOCK as u64).unwrap();
        let write = |bytes: &[u8], at: usize| file.write_all_at(bytes, at as u64).unwrap();
        for (at, bytes) in &pieces {
            write(bytes, *at);
        }
        let answer = answer(&path);
        for (at, bytes) in &pieces {
            write(&whole[*at..*at + bytes.len()], *at);
        }
        answer
    };
    let places = places(&whole);
    let seeds = places.iter().step_by(places.len().div_ceil(100)).map(|at| piece(*at, &whole[*at..*at + 4]));
    let seeds: Vec<Vec<u8>> = seeds.map(|piece| [vec![0], piece].concat()).collect();
    // Another number in one or two places that are not empty.
    let mend = |input: &mut Vec<u8>, mutator: &mut Mutator| {
        for _ in 0..mutator.0.u32(1..3) {
            let number = mutator.number().to_le_bytes();
            let width = *mutator.one_of(&[1, 2, 4]);
            input.extend(piece(*mutator.one_of(&places) + mutator.0.usize(0..2) * 2, &number[..width]));
        }
    };
    Target { name: "disk", corpus: super::CORPUS, seeds, mend: &mend, read: &mut read }.run();
}

/// Where there are numbers.
fn places(disk: &[u8]) -> Vec<usize> {
    (SUPERBLOCK..disk.len()).step_by(4).filter(|at| disk[*at..*at + 4] != [0; 4]).collect()
}

fn piece(at: usize, bytes: &[u8]) -> Vec<u8> {
    let (at, length) = (u32::try_from(at).unwrap(), u8::try_from(bytes.len()).unwrap());
    [&at.to_le_bytes()[..], &[length], bytes].concat()
}

fn answer(path: &Path) -> String {
    let file_system = match FileSystem::open(path) {
        Ok(file_system) => file_system,
        Err(error) => return error.to_string(),
    };
    let findings = format!("{:?}", file_system.check());
    let said: String = findings.chars().filter(|c| !c.is_ascii_digit()).take(300).collect();
    format!("{} files, {said}", walk(&file_system))
}

/// Reads everything that names lead to, and how much that is.
fn walk(file_system: &FileSystem) -> String {
    let (mut seen, mut pending, mut bytes) = (BTreeSet::new(), vec![ROOT], 0_u64);
    while let Some(number) = pending.pop().filter(|_| seen.len() < 1000) {
        let Ok(inode) = file_system.inode(number) else { continue };
        if !seen.insert(number) {
            continue;
        }
        pending.extend(file_system.entries(&inode).into_iter().flat_map(|it| it.entries).map(|it| it.inode));
        bytes +=
            file_system.xattrs(&inode).map_or(0, |xattrs| xattrs.map_or(0, |xattrs| xattrs.len() as u64));
        bytes += file_system.target(&inode).map_or(0, |target| target.len() as u64);
        // A hole may be huge, which is slow and no damage.
        if inode.size < 1 << 24 {
            let mut window = Window::of(inode.size);
            let _damaged =
                file_system.content(&inode, &mut window, &mut |piece: &[u8]| bytes += piece.len() as u64);
        }
    }
    format!("{:?} {:?}", seen.len().checked_ilog2(), bytes.checked_ilog2())
}

/// The pieces of an input: four bytes of place, one of length, then the bytes; all within `size`.
fn damage(mut input: &[u8], size: usize) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    while let Some((&[a, b, c, d, length], rest)) = input.split_first_chunk::<5>() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(length)));
        let at = u32::from_le_bytes([a, b, c, d]) as usize % size;
        pieces.push((at, &bytes[..bytes.len().min(size - at)]));
        input = rest;
    }
    pieces
}

fn without_checksums(mut disk: Vec<u8>) -> Vec<u8> {
    let flags = u32::from_le_bytes(disk[RO_COMPAT..RO_COMPAT + 4].try_into().unwrap());
    disk[RO_COMPAT..RO_COMPAT + 4].copy_from_slice(&(flags & !METADATA_CSUM).to_le_bytes());
    disk[SUPERBLOCK_SUM..SUPERBLOCK_SUM + 4].fill(0);
    disk
}

fn image() -> Vec<u8> {
    let scratch = Scratch::new();
    let many = (0..100).map(|n| Made::file(format!("many/{n:060}"), ""));
    let entries = [
        Made::file("f", vec![b'x'; 5000]).xattr("user.k", "v"),
        Made::file("g", "x").xattr("user.large", vec![b'v'; 1000]),
        Made::symlink("s", "x"),
        Made::symlink("t", "x".repeat(100)),
        Made::hard_link("h", "f"),
    ];
    let tree = scratch.unpack(&Archive::of(entries.into_iter().chain(many)), true).unwrap();
    scratch.volume.finish(&tree, [7; 16]).unwrap();
    std::fs::read(scratch.directory.path().join("disk.img")).unwrap()
}
