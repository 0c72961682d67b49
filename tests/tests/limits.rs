//! What a disk can hold and what it cannot: sizes, numbers, and how a build says no.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use larder_tests::image::{Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, busybox};
use larder_tests::larder::{Ran, larder};
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::process::run;
use tempfile::TempDir;

/// An image in an OCI layout, and a place for disks beside it.
struct Source {
    directory: TempDir,
}

impl Source {
    fn new(layers: &[&Layer]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = directory.path().join("layout");
        fs::create_dir(&layout).unwrap();
        let image: Image = ImageBuilder::default().layers(layers.iter().copied()).build();
        image.write_layout(&layout, "v1").unwrap();
        Self { directory }
    }

    fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self::new(&[&LayerBuilder::default().entries(entries).build(Compression::Zstd).unwrap()])
    }

    fn name(&self) -> String {
        format!("oci:{}:v1", self.directory.path().join("layout").display())
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    fn build(&self, more: &[&str]) -> Ran {
        let (name, disk) = (self.name(), self.disk());
        let common = ["build", "--quiet", &name, "-o", disk.to_str().unwrap()];
        larder(common.iter().chain(more)).unwrap()
    }

    /// Bakes a disk that e2fsck and the kernel accept, and mounts it.
    fn bake(&self) -> Mount {
        self.build(&[]).done().unwrap();
        e2fsck(&self.disk());
        Mount::image(&self.disk()).unwrap()
    }

    /// The one line that a refused build says; nothing is left of it.
    fn refused(&self, more: &[&str]) -> String {
        let ran = self.build(more);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        let left = fs::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(left, 1, "only the layout is left");
        ran.stderr
    }
}

fn e2fsck(disk: &Path) {
    let said = run(Command::new("e2fsck").arg("-fn").arg(disk)).unwrap();
    assert!(!said.contains("WARNING") && !said.contains("no\n"), "{said}");
}

#[test]
fn directories_of_100_000_names_and_500_000_files_are_found_again() {
    let crowd = (0..100_000).map(|n| Entry::file(format!("crowd/a-name-of-some-length-{n:06}"), ""));
    let many = (0..400_000)
        .map(|n| Entry::file(format!("many/{}/{n}", n % 997), if n % 50 == 0 { "x" } else { "" }));
    let source = Source::of(crowd.chain(many));
    let mounted = source.bake();
    let layer = mounted.path().join("snapshots/1/fs");
    assert_eq!(fs::read_dir(layer.join("crowd")).unwrap().count(), 100_000);
    for n in [0, 1, 49_999, 99_999] {
        assert!(layer.join(format!("crowd/a-name-of-some-length-{n:06}")).is_file());
    }
    assert!(!layer.join("crowd/a-name-of-some-length-100000").exists());
    assert_eq!(fs::read(layer.join("many/350/350")).unwrap(), b"x");
}

#[test]
fn files_beyond_4_gib_and_sparse_files_beyond_8_gib_keep_their_content() {
    const LARGE: u64 = (4 << 30) + 12_345;
    const SPARSE: u64 = 9 << 30;
    let content = tempfile::NamedTempFile::new().unwrap();
    content.as_file().set_len(LARGE).unwrap();
    std::os::unix::fs::FileExt::write_all_at(content.as_file(), b"end", LARGE - 3).unwrap();
    let data = || vec![(0, b"begin".to_vec()), (SPARSE - 10, b"finally".to_vec())];
    let source = Source::of([
        Entry::file_from("large", content.path().to_owned(), LARGE),
        Entry::pax_sparse("pax", data(), SPARSE),
        Entry::gnu_sparse("gnu", data(), SPARSE),
    ]);
    let mounted = source.bake();
    let layer = mounted.path().join("snapshots/1/fs");
    let read = |name: &str, offset: u64, length: usize| {
        let mut bytes = vec![0xff; length];
        let file = File::open(layer.join(name)).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, offset).unwrap();
        bytes
    };
    assert_eq!(fs::metadata(layer.join("large")).unwrap().size(), LARGE);
    assert_eq!(read("large", LARGE - 6, 6), b"\0\0\0end");
    for name in ["pax", "gnu"] {
        let metadata = fs::metadata(layer.join(name)).unwrap();
        assert_eq!(metadata.size(), SPARSE);
        assert!(metadata.blocks() * 512 <= 64 << 10, "{name} takes {} sectors", metadata.blocks());
        assert_eq!(read(name, 0, 7), b"begin\0\0");
        assert_eq!(read(name, SPARSE - 12, 12), b"\0\0finally\0\0\0");
    }
}

#[test]
fn what_ext4_cannot_hold_is_refused_by_name() {
    let xattrs = (0..30)
        .fold(Entry::file("loaded/file", "x"), |entry, n| entry.xattr(&format!("user.{n}"), [b'v'; 200]));
    let refused = Source::of([xattrs]).refused(&[]);
    assert!(refused.contains("loaded/file") && refused.contains("extended attributes"), "{refused}");
    let links = (0..65_001).map(|n| Entry::hard_link(format!("links/{n}"), "linked"));
    let refused = Source::of([Entry::file("linked", "x")].into_iter().chain(links)).refused(&[]);
    assert!(refused.contains("links/") && refused.contains("65000"), "{refused}");
}

#[test]
fn more_layers_than_a_mount_takes_are_refused() {
    let layer = LayerBuilder::default().entry(Entry::file("x", "")).build(Compression::None).unwrap();
    let refused = Source::new(&vec![&layer; 451]).refused(&[]);
    assert!(refused.contains("451 layers") && refused.contains("450"), "{refused}");
}

#[test]
fn two_hundred_images_share_one_disk() {
    let directory = tempfile::tempdir().unwrap();
    let base = busybox().unwrap().build(Compression::Gzip).unwrap();
    let list = directory.path().join("images.txt");
    let mut lines = vec!["# two hundred".to_owned(), String::new()];
    for n in 0..200 {
        let own = LayerBuilder::default()
            .entry(Entry::file("own", format!("{n}")))
            .build(Compression::None)
            .unwrap();
        let layout = directory.path().join(format!("layout-{n}"));
        fs::create_dir(&layout).unwrap();
        ImageBuilder::default().layers([&base, &own]).build().write_layout(&layout, "v1").unwrap();
        lines.push(format!("example.test/image-{n}:1=oci:{}:v1", layout.display()));
    }
    fs::write(&list, lines.join("\n")).unwrap();
    let disk = directory.path().join("disk.img");
    let arguments = [
        "build",
        "--quiet",
        "--report",
        "json",
        "--image-list",
        list.to_str().unwrap(),
        "-o",
        disk.to_str().unwrap(),
    ];
    let report = larder(arguments).unwrap().done().unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((report["layers"].as_u64(), report["layerUses"].as_u64()), (Some(201), Some(400)));
    assert_eq!(report["images"].as_array().unwrap().len(), 200);
    e2fsck(&disk);
}

#[test]
fn sizes_are_kept_and_a_disk_too_small_says_what_it_needs() {
    let content =
        |n: u64| (0..2_000_000_u64).map(|at| (at.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect::<Vec<_>>();
    let source = Source::of((0..8).map(|n| Entry::file(format!("file-{n}"), content(n * 7919 + 13))));
    source.build(&["--size", "64M"]).done().unwrap();
    e2fsck(&source.disk());
    assert_eq!(fs::metadata(source.disk()).unwrap().size(), 64 << 20);
    fs::remove_file(source.disk()).unwrap();
    source.build(&[]).done().unwrap();
    let needed = fs::metadata(source.disk()).unwrap().size();
    source.build(&["--headroom", "100M"]).done().unwrap();
    e2fsck(&source.disk());
    assert!(fs::metadata(source.disk()).unwrap().size() >= needed + (100 << 20));
    fs::remove_file(source.disk()).unwrap();
    for size in ["1M", "12M", "16M"] {
        let refused = source.refused(&["--size", size]);
        assert!(refused.contains("too small") && refused.contains("needed"), "{size}: {refused}");
    }
    let refused = source.refused(&["--max-layer-size", "1M"]);
    assert!(refused.contains("--max-layer-size") && refused.contains("sha256:"), "{refused}");

    let file = source.directory.path().join("device");
    File::create(&file).unwrap().set_len(12 << 20).unwrap();
    let device = LoopDevice::attach(&file, Access::ReadWrite).unwrap();
    let (name, device) = (source.name(), device.path().to_str().unwrap());
    let ran = larder(["build", "--quiet", &name, "-o", device]).unwrap();
    assert!(ran.status == Some(1) && ran.stderr.contains("too small"), "{ran:?}");
    assert!(
        Mount::ext4(Path::new(device), Access::ReadOnly).is_err(),
        "no file system is left on the device"
    );
    let ran = larder(["build", "--quiet", &name, "-o", device, "--size", "1G"]).unwrap();
    assert!(ran.status == Some(1) && ran.stderr.contains("--size"), "{ran:?}");
}

#[test]
fn a_full_target_file_system_ends_the_build_and_nothing_is_left() {
    let content = vec![0x5a; 40 << 20];
    let source = Source::of([Entry::file("file", content)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(24 << 20).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal"]).arg(file.path())).unwrap();
    let device = LoopDevice::attach(file.path(), Access::ReadWrite).unwrap();
    let small = Mount::ext4(device.path(), Access::ReadWrite).unwrap();
    let disk = small.path().join("disk.img");
    let ran = larder(["build", "--quiet", &source.name(), "-o", disk.to_str().unwrap()]).unwrap();
    assert!(ran.status == Some(1) && ran.stderr.contains("No space left on device"), "{ran:?}");
    let left: Vec<_> = fs::read_dir(small.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lost+found"]);
    let missing = larder(["build", "--quiet", &source.name(), "-o", "/nonexistent/disk.img"]).unwrap();
    assert!(missing.status == Some(1) && missing.stderr.contains("/nonexistent"), "{missing:?}");
}

#[test]
fn a_plan_tells_what_would_be_done_and_writes_nothing() {
    let base = busybox().unwrap().build(Compression::Gzip).unwrap();
    let own = LayerBuilder::default().entry(Entry::file("own", "x")).build(Compression::Zstd).unwrap();
    let (one, two) = (Source::new(&[&base]), Source::new(&[&base, &own]));
    let plan = larder([
        "build",
        "--dry-run",
        "--report",
        "json",
        &format!("one=oci:{}:v1", one.directory.path().join("layout").display()),
        &two.name(),
    ]);
    let plan: serde_json::Value = serde_json::from_str(&plan.unwrap().done().unwrap()).unwrap();
    assert_eq!(plan["layers"].as_array().unwrap().len(), 2);
    assert_eq!(plan["layers"][0]["images"].as_array().unwrap().len(), 2, "the base is shared");
    assert_eq!(plan["blobBytes"].as_u64(), Some(base.size + own.size));
    assert_eq!(plan["requests"].as_u64(), Some(0), "nothing comes from a registry");
    let text = one.build(&["--dry-run"]).done().unwrap();
    assert!(text.contains("1 layers to bake"), "{text}");
    assert!(!one.disk().exists());
}

#[test]
fn the_md5_column_is_what_the_reference_computes() {
    let source = Source::of([
        Entry::file("b", "two"),
        Entry::file("a", "one"),
        Entry::hard_link("again", "a"),
        Entry::symlink("link", "a"),
        Entry::pax_sparse("sparse", vec![(8192, b"data".to_vec())], 20_000),
    ]);
    source.build(&["--store-snapshot-checksum"]).done().unwrap();
    let mounted = Mount::image(&source.disk()).unwrap();
    let metadata = fs::read_to_string(mounted.path().join("snapshots.metadata")).unwrap();
    let script =
        "find . -type f -print0 | xargs -0 md5sum | cut -c1-32 | LC_ALL=C sort | md5sum | cut -c1-32";
    let theirs =
        run(Command::new("sh").args(["-c", script]).current_dir(mounted.path().join("snapshots/1/fs")))
            .unwrap();
    assert_eq!(metadata.trim().split(' ').nth(2), Some(theirs.trim()));
}
