//! Archives that become layers: the header's fields are changed one by one, and its checksum follows.

use std::collections::HashMap;
use std::process::Command;

use crate::fixture::{Archive, Made, Scratch};
use crate::layer::{inherit, listing};
use crate::tree::{Attributes, Kind, MAX_NAME, NodeId, Tree};
use larder_fuzz::tar::{BLOCK, headers, seal};
use larder_fuzz::{Mutator, Target};

/// Layers that go onto one disk, which e2fsck then judges.
const ON_A_DISK: usize = 200;
/// Archives unpacked to one volume, so that it does not grow for ever.
const ON_A_VOLUME: usize = 2000;

#[test]
fn layers_stay_within_themselves_and_make_clean_disks() {
    let mut disk = Disk::new();
    let mut read = |input: &[u8]| {
        let answer = disk.take(input);
        if disk.accepted >= ON_A_DISK || disk.tried >= ON_A_VOLUME {
            std::mem::replace(&mut disk, Disk::new()).judge();
        }
        answer
    };
    Target { name: "layer", corpus: super::CORPUS, seeds: seeds(), mend: &mend, read: &mut read }.run();
    disk.judge();
}

/// What was accepted of the archives since the last disk was finished.
struct Disk {
    scratch: Scratch,
    tree: Tree,
    /// The last layer that was accepted; the next one is put on it.
    below: Option<Tree>,
    accepted: usize,
    tried: usize,
}

impl Disk {
    fn new() -> Self {
        let tree = Tree::new(Attributes::plain_directory());
        Self { scratch: Scratch::new(), tree, below: None, accepted: 0, tried: 0 }
    }

    fn take(&mut self, input: &[u8]) -> String {
        self.tried += 1;
        let base = (input.len() / BLOCK).is_multiple_of(2);
        let mut tree = match self.scratch.unpack(input, base) {
            Ok(tree) => tree,
            Err(error) => {
                let told = error.to_string();
                assert!(told.len() < 2000 && told.lines().count() == 1, "{told:?}");
                // Without the path, which makes every error another one.
                return told.rsplit(": ").next().unwrap_or_default().to_owned();
            }
        };
        assert!(tree.len() <= input.len() + 1, "{} nodes of {} bytes", tree.len(), input.len());
        inherit(&mut tree, &self.below.iter().collect::<Vec<_>>());
        is_whole(&tree);
        assert!(listing(&tree).iter().all(u8::is_ascii));
        let answer = shape(&tree);
        let number = self.tree.directory_at(&format!("snapshots/{}", self.accepted));
        self.tree.graft(number, b"fs", tree.clone());
        self.accepted += 1;
        self.below = Some(tree);
        answer
    }

    fn judge(self) {
        let Scratch { directory, volume } = self.scratch;
        volume.finish(&self.tree, [7; 16]).unwrap();
        let e2fsck = Command::new("/sbin/e2fsck").arg("-fn").arg(directory.path().join("disk.img")).output();
        let output = e2fsck.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains("Fix? no"), "{said}");
    }
}

/// Names are names, directories have one each, and every node has as many as it counts.
fn is_whole(tree: &Tree) {
    let mut names: HashMap<NodeId, u32> = HashMap::new();
    for visit in tree.walk() {
        *names.entry(visit.id).or_default() += 1;
        assert!(visit.node.directory().is_none() || !visit.again, "a directory with two names");
        for name in visit.path.split(|byte| *byte == b'/').filter(|_| !visit.path.is_empty()) {
            let is_name = !matches!(name, b"" | b"." | b"..") && name.len() <= MAX_NAME && !name.contains(&0);
            assert!(is_name, "{}", visit.path.escape_ascii());
        }
    }
    for (id, names) in names {
        assert_eq!(tree.node(id).links, names);
    }
}

/// How many there are of each kind, roughly: layers of another shape are worth mutating.
fn shape(tree: &Tree) -> String {
    let count = |wanted: fn(&Kind) -> bool| {
        let nodes = tree.walk().filter(|visit| wanted(&visit.node.kind)).count();
        char::from(b'a' + u8::try_from(nodes.min(9)).unwrap())
    };
    let attributed = tree.walk().filter(|visit| visit.node.attributes.xattrs.is_some()).count();
    let linked = tree.walk().filter(|visit| visit.again).count();
    let kinds = [
        count(|kind| matches!(kind, Kind::Directory(_))),
        count(|kind| matches!(kind, Kind::File(_))),
        count(|kind| matches!(kind, Kind::Symlink(_))),
        count(|kind| matches!(kind, Kind::CharacterDevice { .. })),
        count(|kind| matches!(kind, Kind::BlockDevice { .. } | Kind::Fifo)),
    ];
    format!("{} {} {}", kinds.iter().collect::<String>(), attributed > 0, linked > 0)
}

/// The header's fields with numbers, and those with text.
const NUMBERS: [(usize, usize); 9] =
    [(100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8), (386, 12), (483, 12)];
const TEXTS: [(usize, usize); 3] = [(0, 100), (157, 100), (345, 155)];
const NAMES: [&str; 14] = [
    "a",
    "b/",
    "./a",
    "a/b",
    "../a",
    "/a",
    ".wh.a",
    "a/.wh.b",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    "a/../b",
    "",
    "a//b/./c",
    "link/x",
];

/// Changes fields of some headers, and sets the checksums of all.
#[expect(clippy::ptr_arg, reason = "the signature of every target's mender")]
fn mend(input: &mut Vec<u8>, mutator: &mut Mutator) {
    let headers = headers(input);
    if headers.is_empty() || mutator.0.u32(0..16) == 0 {
        return;
    }
    for _ in 0..mutator.0.u32(0..4) {
        let header = *mutator.one_of(&headers);
        field(&mut input[header..header + BLOCK], mutator);
    }
    seal(input, &headers);
}

fn field(header: &mut [u8], mutator: &mut Mutator) {
    match mutator.0.u32(0..8) {
        0..3 => {
            let (at, width) = *mutator.one_of(&NUMBERS);
            let number = mutator.number();
            let field = &mut header[at..at + width];
            let octal = format!("{number:0width$o}\0", width = width - 1).into_bytes();
            if octal.len() == width && mutator.0.u32(0..4) > 0 {
                field.copy_from_slice(&octal);
            } else {
                // Base 256.
                let bytes =
                    [&[if mutator.0.bool() { 0xff } else { 0 }; 4][..], &number.to_be_bytes()].concat();
                field.copy_from_slice(&bytes[bytes.len() - width..]);
                field[0] |= 0x80;
            }
        }
        3 | 4 => header[156] = *mutator.one_of(b"\x000123456xgLKSS7"),
        5 => {
            let magic = *mutator.one_of(&[*b"ustar\x0000", *b"ustar  \0", [0; 8]]);
            header[257..265].copy_from_slice(&magic);
        }
        _ => {
            let (at, width) = *mutator.one_of(&TEXTS);
            let text = mutator.one_of(&NAMES).as_bytes();
            header[at..at + width].fill(0);
            header[at..at + text.len()].copy_from_slice(text);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let acl = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255];
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let files = [
        Made::directory("a").mode(0o2775).owner(1, 2).mtime("1.5"),
        Made::file("a/b", "content").xattr("user.k", "v").xattr("security.capability", capability),
        Made::file("b", vec![b'x'; 5000]),
        Made::symlink("link", "a/../b"),
        Made::hard_link("a/c", "b"),
        Made::directory("c").xattr("system.posix_acl_default", acl),
        Made::device(b'3', "d", 1, 3),
        Made::device(b'4', "e", 8, 300),
        Made::new(b'6', "f"),
        Made::file("g".repeat(150), "x"),
    ];
    let marks = [
        Made::file("a/.wh.b", ""),
        Made::file("a/new/deep/c", ""),
        Made::file("a/.wh..wh..opq", ""),
        Made::symlink("link", "/a"),
        Made::file("link/x", "x"),
        Made::new(b'g', "pax_global_header"),
        Made::file("x/y", "").set(|header| header.as_old_mut().linkflag[0] = 0),
    ];
    let map = |map: &[u8], data: usize| [map, &vec![0; BLOCK - map.len()], &vec![b'x'; data]].concat();
    let sparse = [
        Made::file("s", vec![b'x'; 1024])
            .record("GNU.sparse.numblocks", "2")
            .record("GNU.sparse.map", "0,512,10000,512")
            .record("GNU.sparse.size", "20000"),
        Made::file("x", map(b"2\n0\n512\n100000\n1\n", 513))
            .record("GNU.sparse.major", "1")
            .record("GNU.sparse.minor", "0")
            .record("GNU.sparse.name", "t")
            .record("GNU.sparse.realsize", "200000"),
        Made::file("u", vec![b'x'; 512])
            .record("GNU.sparse.numblocks", "1")
            .record("GNU.sparse.offset", "4096")
            .record("GNU.sparse.numbytes", "512")
            .record("GNU.sparse.size", "9000"),
    ];
    let long = [Made::new(b'L', "././@LongLink"), Made::new(b'K', "././@LongLink"), Made::new(b'2', "short")];
    vec![Archive::of(files), Archive::of(marks), Archive::of(sparse), Archive::of(long)]
}
