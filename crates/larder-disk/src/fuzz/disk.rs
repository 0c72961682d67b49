//! Whole disks: an image as the writer makes it, with and without its checksums, damaged.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;

use super::Target;
use super::mutate::Mutator;
use crate::ext4::read::{FileSystem, ROOT};
use crate::fixture::{Archive, Made, Scratch};

/// The superblock, its flags of features that may be ignored by readers, and the one that says that there are checksums.
const SUPERBLOCK: usize = 1024;
const RO_COMPAT: usize = SUPERBLOCK + 0x64;
const METADATA_CSUM: u32 = 0x400;

#[test]
fn damaged_disks_are_read_or_refused() {
    let whole = image();
    let without_checksums = without_checksums(whole.clone());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = std::fs::File::create(&path).unwrap();
    // An input is what differs from the whole image, in pieces: four bytes of place, two of length, then the bytes.
    let mut read = |input: &[u8]| {
        let mut disk = if input.first().is_some_and(|first| first % 2 == 1) {
            whole.clone()
        } else {
            without_checksums.clone()
        };
        damage(&mut disk, input.get(1..).unwrap_or_default());
        file.write_all_at(&disk, 0).unwrap();
        let file_system = match FileSystem::open(&path) {
            Ok(file_system) => file_system,
            Err(error) => return error.to_string(),
        };
        let findings = format!("{:?}", file_system.check());
        let said: String = findings.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
        format!("{} files, {said}", walk(&file_system))
    };
    Target { name: "disk", seeds: seeds(&without_checksums), mend, read: &mut read }.run();
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
            let _damaged = file_system.content(&inode, &mut |piece| bytes += piece.len() as u64);
        }
    }
    format!("{:?} {:?}", seen.len().checked_ilog2(), bytes.checked_ilog2())
}

fn damage(disk: &mut [u8], mut pieces: &[u8]) {
    while let Some((&[a, b, c, d, length], rest)) = pieces.split_first_chunk::<5>() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(length)));
        let at = u32::from_le_bytes([a, b, c, d]) as usize % disk.len();
        let room = disk.len() - at;
        disk[at..at + bytes.len().min(room)].copy_from_slice(&bytes[..bytes.len().min(room)]);
        pieces = rest;
    }
}

fn mend(_: &mut Vec<u8>, _: &mut Mutator) {}

/// For each number that a reader looks at, one input that changes it.
fn seeds(disk: &[u8]) -> Vec<Vec<u8>> {
    let places = (SUPERBLOCK..disk.len()).step_by(4).filter(|at| disk[*at..*at + 4] != [0; 4]);
    let all: Vec<usize> = places.collect();
    let step = all.len().div_ceil(400);
    all.iter()
        .step_by(step)
        .map(|at| {
            let place = u32::try_from(*at).unwrap().to_le_bytes();
            [&[0][..], &place, &[4], &disk[*at..*at + 4]].concat()
        })
        .collect()
}

fn without_checksums(mut disk: Vec<u8>) -> Vec<u8> {
    let flags = u32::from_le_bytes(disk[RO_COMPAT..RO_COMPAT + 4].try_into().unwrap());
    disk[RO_COMPAT..RO_COMPAT + 4].copy_from_slice(&(flags & !METADATA_CSUM).to_le_bytes());
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
