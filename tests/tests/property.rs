//! Random stacks of layers, baked and compared with what a real containerd unpacks from the same images.
//!
//! `LARDER_CASES` sets how many, `LARDER_SEED` which ones, `LARDER_CONTAINERD` whose unpack (`1.6`, `1.7`, `2.1`); a failure
//! names the seed of its case and shows the entries.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own mistakes may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use fastrand::Rng;
use larder_core::{ChainId, ImageRef};
use larder_tests::containerd::{Containerd, Version};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, LayerBuilder, acl};
use larder_tests::larder::larder;
use larder_tests::loopdev::Mount;
use larder_tests::process::run;
use larder_tests::registry::Registry;
use larder_tests::tree;

/// As many as take about 15 s.
const CASES: u64 = 80;
/// Few, so that entries meet.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// What larder refuses on purpose, although containerd bends it into the layer.
const STRICTER: [&str; 3] = [
    "the path is absolute",
    "the path leads upwards (..)",
    "a symbolic link on the way leads out of the layer",
];
/// What containerd trips over and larder lays out: a file or a loop of links of a lower layer where this one has a directory with
/// something deep in it; and a directory that is gone when its time is to be set.
const MORE_LENIENT: [&str; 4] = [
    ": not a directory",
    ": too many links",
    ": too many levels of symbolic links",
    "failed call to UtimesNanoAt",
];
/// Images that are pulled at the same time.
const WORKERS: usize = 4;
/// `cap_net_bind_service=ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A stack of layers, and all that is needed to make it again.
struct Case {
    seed: u64,
    layers: Vec<Vec<Entry>>,
    image: Image,
    reference: ImageRef,
    /// Why larder refuses the image, if it does.
    refused: Option<String>,
}

#[test]
fn random_layers_are_what_containerd_unpacks() {
    let (cases, seed) = (number("LARDER_CASES", CASES), number("LARDER_SEED", 1));
    let registry = Registry::start().unwrap();
    let containerd = Containerd::start(version()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    let seeds: Vec<u64> = (seed..seed + cases).collect();
    let cases = in_parallel(&seeds, |seed| case(*seed, &registry, directory.path()));
    let accepted = cases.iter().filter(|case| case.refused.is_none());
    larder(build(&disk).chain(accepted.map(|case| case.reference.to_string()))).unwrap().done().unwrap();
    run(std::process::Command::new("e2fsck").arg("-fn").arg(&disk)).unwrap();
    let mounted = Mount::image(&disk).unwrap();
    let judged = in_parallel(&cases, |case| {
        judge(case, &containerd, mounted.path())
            .map_err(|what| format!("LARDER_SEED={}: {what}\n{}", case.seed, told(&case.layers)))
    });
    let failures: Vec<&String> = judged.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let same: usize = judged.iter().flatten().sum();
    println!("{} cases, {same} layers the same", cases.len());
    for failure in &failures {
        println!("{failure}");
    }
    assert_eq!(failures.len(), 0, "cases differ");
    assert!(2 * same >= cases.len(), "the comparison compares something");
}

fn in_parallel<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    std::thread::scope(|scope| {
        let chunks = items.chunks(items.len().div_ceil(WORKERS)).map(|chunk| {
            let work = &work;
            scope.spawn(move || chunk.iter().map(work).collect::<Vec<U>>())
        });
        let threads: Vec<_> = chunks.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| u64::from_str(&text).unwrap())
}

fn version() -> Version {
    let Ok(text) = std::env::var("LARDER_CONTAINERD") else { return Version::V1_7 };
    Version::ALL.into_iter().find(|version| version.to_string() == text).unwrap()
}

/// Why larder refuses the image, if it does.
fn refusal(reference: &ImageRef, disk: &Path) -> Option<String> {
    let ran = larder(build(disk).chain([reference.to_string()])).unwrap();
    let there = fs::remove_file(disk).is_ok();
    match ran.status {
        Some(0) if there => None,
        Some(1) if !there => Some(ran.stderr),
        _ => panic!("{reference}: {ran:?}"),
    }
}

fn build(disk: &Path) -> impl Iterator<Item = String> {
    ["build", "--quiet", "--plain-http", "-o", disk.to_str().unwrap()].map(str::to_owned).into_iter()
}

/// How many layers are the same, or what is not.
fn judge(case: &Case, containerd: &Containerd, disk: &Path) -> Result<usize, String> {
    let pulled = containerd.pull(&case.reference).map_err(|error| format!("{error:#}"));
    let is_one_of = |text: &str, known: &[&str]| known.iter().any(|known| text.contains(known));
    match (&case.refused, pulled) {
        (Some(_), Err(_)) => Ok(0),
        (Some(ours), Ok(_)) if is_one_of(ours, &STRICTER) => Ok(0),
        (Some(ours), Ok(_)) => Err(format!("only larder refuses it: {ours}")),
        (None, Err(theirs)) if is_one_of(&theirs, &MORE_LENIENT) => Ok(0),
        (None, Err(theirs)) => Err(format!("only containerd refuses it: {theirs}")),
        (None, Ok(_)) => compare(case, containerd, disk),
    }
}

fn compare(case: &Case, containerd: &Containerd, disk: &Path) -> Result<usize, String> {
    let chain_ids = case.image.chain_ids();
    let unpacked = containerd.layer_directories(*chain_ids.last().unwrap()).unwrap();
    assert_eq!(unpacked.len(), chain_ids.len());
    let mut differences = Vec::new();
    for (number, ((chain_id, theirs), layer)) in
        chain_ids.iter().zip(unpacked).zip(&case.image.layers).enumerate()
    {
        let ours = tree::read(&disk.join(layer_directory(disk, *chain_id))).unwrap();
        let theirs = tree::read(&theirs).unwrap();
        // What the tar does not name has the time of the unpacking.
        let lines = tree::diff(&ours, &theirs, |path| !layer.names(path));
        differences.extend(lines.into_iter().map(|line| format!("layer {number}: {line}")));
    }
    if differences.is_empty() { Ok(chain_ids.len()) } else { Err(differences.join("\n")) }
}

fn layer_directory(disk: &Path, chain_id: ChainId) -> String {
    let metadata = fs::read_to_string(disk.join("snapshots.metadata")).unwrap();
    let line = metadata.lines().find(|line| line.starts_with(&chain_id.to_string())).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

fn told(layers: &[Vec<Entry>]) -> String {
    let layer = |(number, entries): (usize, &Vec<Entry>)| {
        let entries: Vec<String> = entries.iter().map(|entry| format!("    {entry}")).collect();
        format!("  layer {number}:\n{}", entries.join("\n"))
    };
    layers.iter().enumerate().map(layer).collect::<Vec<_>>().join("\n")
}

fn case(seed: u64, registry: &Registry, directory: &Path) -> Case {
    let mut rng = Rng::with_seed(seed);
    let mut so_far = Sketch::default();
    let layers: Vec<Vec<Entry>> = (0..rng.usize(2..=4)).map(|_| so_far.layer(&mut rng)).collect();
    let image = layers.iter().fold(ImageBuilder::default(), |image, entries| {
        let layer = LayerBuilder::default().entries(entries.iter().cloned());
        image.layer(&layer.build(Compression::None).unwrap())
    });
    let image = image.build();
    let reference = registry.push(&image, &format!("property/{seed}:1")).unwrap();
    let refused = refusal(&reference, &directory.join(format!("{seed}.img")));
    Case { seed, layers, image, reference, refused }
}

/// Roughly what the entries so far have made, so that most of them make sense: otherwise almost all images would be refused.
#[derive(Default)]
struct Sketch {
    number: usize,
    below: BTreeMap<String, Made>,
    own: BTreeMap<String, Made>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    File,
    Directory,
    Symlink,
    Whiteout,
}

impl Sketch {
    fn layer(&mut self, rng: &mut Rng) -> Vec<Entry> {
        let entries = (0..rng.usize(1..=12)).map(|_| self.entry(rng)).collect();
        self.number += 1;
        self.below.append(&mut self.own);
        entries
    }

    fn entry(&mut self, rng: &mut Rng) -> Entry {
        let made = match rng.u32(0..100) {
            0..25 => Made::Directory,
            25..40 => Made::Symlink,
            // In a base layer a whiteout is odd; but there are such archives.
            40..52 if self.number > 0 || rng.u32(0..4) == 0 => Made::Whiteout,
            40..82 => Made::File,
            _ => return self.further(rng),
        };
        let path = self.path(rng, made, None);
        let entry = match made {
            Made::File => Entry::file(&path, vec![b'x'; rng.usize(0..3)]),
            Made::Directory => Entry::dir(&path),
            Made::Symlink => Entry::symlink(&path, target(rng)),
            Made::Whiteout => return Entry::whiteout(&path).owner(rng.u64(0..3), 0),
        };
        attributed(rng, entry)
    }

    fn further(&mut self, rng: &mut Rng) -> Entry {
        let kind = rng.u32(0..18);
        if kind < 6 {
            return Entry::opaque(self.path(rng, Made::Directory, None));
        }
        let files = self.own.iter().filter(|(_, made)| matches!(made, Made::File | Made::Symlink));
        let target = rng.choice(files.map(|(path, _)| path.clone()).collect::<Vec<_>>());
        let path = self.path(rng, Made::File, target.as_deref());
        let entry = match target {
            Some(target) if kind < 14 => {
                Entry::hard_link(path, format!("{}{target}", rng.choice(["", "", "/", "./"]).unwrap()))
            }
            _ if kind.is_multiple_of(2) => Entry::fifo(path),
            _ => Entry::char_device(path, rng.u32(0..5), rng.u32(0..300)),
        };
        attributed(rng, entry)
    }

    /// A path for something new, mostly one that makes sense; what it says stays within a layer, with few exceptions.
    fn path(&mut self, rng: &mut Rng, made: Made, keep: Option<&str>) -> String {
        let tries: Vec<String> = (0..30)
            .map(|_| {
                let depth = rng.usize(1..=4).min(rng.usize(1..=4));
                path_of(rng, depth)
            })
            .collect();
        let any = rng.u32(0..100) == 0;
        let keeps = |path: &str| keep.is_none_or(|keep| !inside(keep, path));
        let sensible = tries.iter().find(|path| any || keeps(path) && self.takes(rng, path, made));
        let path = sensible.unwrap_or(&tries[0]).clone();
        if made != Made::Directory {
            self.own.retain(|other, _| !inside(other, &path));
        }
        self.own.insert(path.clone(), made);
        match rng.u32(0..600) {
            0 => format!("/{path}"),
            1 => format!("{path}/../{}", path_of(rng, 1)),
            2..40 => format!("./{path}"),
            _ => path,
        }
    }

    fn takes(&self, rng: &mut Rng, path: &str, made: Made) -> bool {
        let mut parents = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        let passable = parents.all(|parent| match (self.own.get(parent), self.below.get(parent)) {
            (Some(Made::File | Made::Whiteout), _) => false,
            (Some(Made::Symlink), _) => rng.u32(0..4) == 0,
            (_, Some(Made::File | Made::Whiteout | Made::Symlink)) => rng.u32(0..8) == 0,
            _ => true,
        });
        passable && !(made == Made::Whiteout && self.own.keys().any(|other| inside(other, path)))
    }
}

fn inside(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn path_of(rng: &mut Rng, depth: usize) -> String {
    let names: Vec<&str> = (0..depth).map(|_| *rng.choice(&NAMES).unwrap()).collect();
    names.join("/")
}

fn target(rng: &mut Rng) -> String {
    let depth = rng.usize(1..=2);
    let path = path_of(rng, depth);
    match rng.u32(0..20) {
        0..8 => path,
        8..13 => format!("/{path}"),
        13..16 => format!("../{path}"),
        16 => format!("{path}/../{}", path_of(rng, 1)),
        17 => "missing".to_owned(),
        18 => ".".to_owned(),
        _ => "/".to_owned(),
    }
}

fn attributed(rng: &mut Rng, entry: Entry) -> Entry {
    let mode = *rng.choice(&[0o644, 0o755, 0o700, 0, 0o1777, 0o2775, 0o4755, 0o6711, 0o7777]).unwrap();
    let owner = (*rng.choice(&[0, 1, 70_000]).unwrap(), *rng.choice(&[0, 50, 80_000]).unwrap());
    let seconds = *rng.choice(&[0, 1, -1, -86_400, 1_000_000_000, 4_000_000_000]).unwrap();
    let mut entry = entry.mode(mode).owner(owner.0, owner.1).mtime(seconds, rng.u32(0..3));
    if rng.u32(0..4) == 0 {
        entry = entry.xattr(rng.choice(["user.a", "user.b", "security.c"]).unwrap(), [rng.u8(b'a'..=b'z')]);
    }
    match rng.u32(0..40) {
        0 => entry.xattr("trusted.t", "t"),
        1 | 2 => entry.xattr("security.capability", CAPABILITY),
        3 => entry.xattr("system.posix_acl_access", acl(&[(1, 6), (4, 4), (0x20, 4)])),
        4 | 5 => entry.xattr("system.posix_acl_access", acl(&[(1, 6), (2, 7), (4, 4), (0x10, 5), (0x20, 0)])),
        6 => entry.xattr("system.nonsense", "n"),
        _ => entry,
    }
}
