//! Damage, one place after the other on a whole disk: `verify` tells it, unless e2fsck and another reader see no difference either.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod fixture;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Blobs, Silent, directory, e2fsck, file, header, image, layer, options, upper};
use larder_core::Digest;
use larder_disk::{BuildOptions, Cancel, build, verify};

const BLOCK: usize = 4096;
/// Where each block is damaged; the bit changes from block to block.
const PLACES: [usize; 7] = [0, 5, 300, 1023, 2048, 3333, 4092];
/// At the same time: each has a disk of its own.
const WORKERS: usize = 2;

/// A disk and its bytes.
struct Disk {
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    seen: BTreeMap<Vec<u8>, String>,
    _directory: tempfile::TempDir,
}

/// A few blocks of every structure: an indexed directory, an extent tree with blocks of its own, holes, attributes in a block.
fn odd(tar: &mut tar::Builder<Vec<u8>>) {
    directory(tar, "d/", 0o755);
    file(tar, "d/file", b"content");
    file(tar, "d/blocks", &(0..3000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    tar.append_link(&mut header(tar::EntryType::Link, 0, 0o600), "d/hard", "d/file").unwrap();
    tar.append_link(&mut header(tar::EntryType::Symlink, 0, 0o777), "long", "x/".repeat(100)).unwrap();
    tar.append_pax_extensions([("SCHILY.xattr.user.large", &[b'v'; 2000][..])]).unwrap();
    file(tar, "attributes", b"");
    for n in 0..300 {
        file(tar, &format!("many/a-file-with-a-name-of-some-length-{n}"), b"");
    }
    let pieces: Vec<String> = (0..6).map(|n| format!("{}\n4096\n", n * 8192)).collect();
    let records = [("major", "1"), ("minor", "0"), ("name", "sparse"), ("realsize", "50000")];
    let records = records.map(|(key, value)| (format!("GNU.sparse.{key}"), value));
    tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()))).unwrap();
    let mut content = format!("6\n{}", pieces.concat()).into_bytes();
    content.resize(512, 0);
    content.resize(512 + 6 * 4096, b'x');
    file(tar, "stored", &content);
}

impl Disk {
    fn new(journal: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.img");
        let mut blobs = Blobs::default();
        let images = [image(&mut blobs, "odd", &[layer(odd), layer(upper)])];
        let options = BuildOptions { journal, checksums: true, ..options() };
        build(&images, &blobs, &path, &options, &Silent, &Cancel::default()).unwrap();
        e2fsck(&path);
        let file = File::options().write(true).open(&path).unwrap();
        let (bytes, seen) = (fs::read(&path).unwrap(), seen(&path).unwrap());
        let disk = Self { path, file, bytes, seen, _directory: directory };
        assert!(!disk.is_wrong());
        disk
    }

    fn is_wrong(&self) -> bool {
        verify(&self.path, 1, &|_, _| {}).map_or(true, |report| !report.is_good())
    }

    /// Whether it is told that `bytes` are at `at`; if not, nobody else may see a difference either.
    fn tells(&self, at: usize, bytes: &[u8]) -> bool {
        let original = &self.bytes[at..at + bytes.len()];
        if original == bytes {
            return false;
        }
        self.file.write_all_at(bytes, at as u64).unwrap();
        let told = self.is_wrong();
        if !told {
            let place = format!("{} bytes at {} of block {}", bytes.len(), at % BLOCK, at / BLOCK);
            assert!(is_clean(&self.path), "{place}: e2fsck finds more");
            assert_eq!(
                seen(&self.path).as_ref(),
                Some(&self.seen),
                "{place}: another reader sees a difference"
            );
        }
        self.file.write_all_at(original, at as u64).unwrap();
        told
    }

    /// Where the content is that begins with `text`.
    fn position(&self, text: &[u8]) -> usize {
        self.bytes.windows(text.len()).position(|window| window == text).unwrap()
    }
}

#[test]
fn damage_to_any_block_is_told_or_changes_nothing() {
    let told: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || damage_blocks(worker))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(told > 500, "{told} damages were told");
}

/// Damages every block in use whose turn it is; returns how often it was told.
fn damage_blocks(worker: usize) -> usize {
    let disk = Disk::new(false);
    let used = used_blocks(&disk.path);
    let mut told = 0;
    for (number, block) in used.iter().enumerate().skip(worker).step_by(WORKERS) {
        let start = block * BLOCK;
        for place in PLACES {
            let at = start + place;
            told += usize::from(disk.tells(at, &[disk.bytes[at] ^ 1 << (number % 8)]));
        }
        // A block that never reached the disk, and one that belongs elsewhere.
        let other = used[(number + 1) % used.len()] * BLOCK;
        told += usize::from(disk.tells(start, &[0; BLOCK]));
        told += usize::from(disk.tells(start, &disk.bytes[other..other + BLOCK]));
    }
    assert!(!disk.is_wrong());
    told
}

#[test]
fn every_byte_of_a_files_content_and_of_the_disks_own_files_is_told() {
    let disk = Disk::new(false);
    let content: Vec<u8> = (0..16_u32).flat_map(u32::to_le_bytes).collect();
    let lines = disk.position(b"sha256:");
    let ends = |start: usize| start + disk.bytes[start..].iter().position(|byte| *byte == 0).unwrap();
    let ranges: [Range<usize>; 6] = [
        disk.position(&content)..disk.position(&content) + 12_000,
        disk.position(b"content\0")..disk.position(b"content\0") + 7,
        lines..ends(lines),
        disk.position(b"REF")..ends(disk.position(b"REF")),
        disk.position(b"{\"imageLayoutVersion")..ends(disk.position(b"{\"imageLayoutVersion")),
        disk.position(b"larder-listing 1\n")..disk.position(b"larder-listing 1\n") + 300,
    ];
    for (number, range) in ranges.into_iter().enumerate() {
        let step = range.len().div_ceil(300);
        for at in range.step_by(step) {
            // The case of a letter, and a digit's value.
            for bit in [0x20, 1] {
                assert!(disk.tells(at, &[disk.bytes[at] ^ bit]), "range {number}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_bit_of_the_superblock_is_told() {
    let disk = Disk::new(false);
    for at in 1024..2048 {
        for bit in 0..8 {
            assert!(disk.tells(at, &[disk.bytes[at] ^ 1 << bit]), "byte {:#x}, bit {bit}", at - 1024);
        }
    }
}

#[test]
fn a_journal_that_is_none_is_told() {
    let disk = Disk::new(true);
    let start = disk.position(&[0xc0, 0x3b, 0x39, 0x98]);
    // All fields, and some of what is behind them.
    let places = (start..start + 0x60).step_by(4).chain((start + 0x60..start + 1024).step_by(100));
    let told = places.filter(|at| disk.tells(*at, &[!disk.bytes[*at]])).count();
    assert!(told >= 5, "{told} damages were told");
}

#[test]
fn a_disk_that_ends_early_is_told() {
    let disk = Disk::new(false);
    for blocks in [1, 2, disk.bytes.len() / BLOCK / 2, disk.bytes.len() / BLOCK - 1] {
        disk.file.set_len((blocks * BLOCK) as u64).unwrap();
        assert!(disk.is_wrong(), "cut to {blocks} blocks");
        disk.file.write_all_at(&disk.bytes, 0).unwrap();
    }
    assert!(!disk.is_wrong());
}

/// Everything that another reader sees on a disk; none where it fails.
fn seen(disk: &Path) -> Option<BTreeMap<Vec<u8>, String>> {
    let fs = ext4_view::Ext4::load(Box::new(File::open(disk).unwrap())).ok()?;
    let mut found = BTreeMap::new();
    let mut pending = vec![ext4_view::PathBuf::new("/")];
    while let Some(path) = pending.pop() {
        let metadata = fs.symlink_metadata(&path).ok()?;
        let mut what = format!(
            "{:?} {:o} {} {} {:?}",
            metadata.file_type(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.len()
        );
        if metadata.is_dir() {
            for entry in fs.read_dir(&path).ok()? {
                let entry = entry.ok()?;
                if entry.file_name().as_ref() != b"." && entry.file_name().as_ref() != b".." {
                    pending.push(entry.path());
                }
            }
        } else if metadata.is_symlink() {
            let target = fs.read_link(&path).ok()?;
            what = format!("{what}{target:?}");
        } else if metadata.file_type() == ext4_view::FileType::Regular {
            what.push_str(&Digest::of(&fs.read(&path).ok()?).to_string());
        }
        found.insert(path.as_ref().to_vec(), what);
    }
    Some(found)
}

fn is_clean(disk: &Path) -> bool {
    Command::new("/sbin/e2fsck").arg("-fn").arg(disk).output().unwrap().status.success()
}

/// The blocks that e2fsprogs says are in use.
fn used_blocks(disk: &Path) -> Vec<usize> {
    let layout =
        String::from_utf8(Command::new("/sbin/dumpe2fs").arg(disk).output().unwrap().stdout).unwrap();
    let number = |text: &str| text.trim().parse::<usize>().unwrap();
    let count = number(layout.split("Block count:").nth(1).unwrap().lines().next().unwrap());
    let free =
        layout.split("  Free blocks: ").skip(1).flat_map(|rest| rest.lines().next().unwrap().split(", "));
    let free: Vec<(usize, usize)> = free
        .map(|run| {
            run.split_once('-').map_or_else(|| (number(run), number(run)), |(a, b)| (number(a), number(b)))
        })
        .collect();
    (0..count).filter(|block| !free.iter().any(|(first, last)| (first..=last).contains(&block))).collect()
}
