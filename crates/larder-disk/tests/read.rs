//! Disks read back without a mount: those that `build` writes, those that e2fsprogs makes of a directory as the reference builder
//! would lay it out, and damaged ones.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod fixture;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use fixture::{Blobs, Silent, bake, base, directory, e2fsck, file, header, image, layer, options, upper};
use larder_core::{ChainId, Digest};
use larder_disk::{
    BuildOptions, CacheDisk, Cancel, Change, LayoutError, VerifyReport, build, diff, inspect, verify,
};

fn verified(disk: &Path) -> Result<VerifyReport, LayoutError> {
    verify(disk, 2, &|_, _| {})
}

fn problems(report: &VerifyReport) -> Vec<String> {
    report.problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn good(disk: &Path) -> VerifyReport {
    let report = verified(disk).unwrap();
    assert_eq!(problems(&report), [""; 0]);
    assert!(report.is_good());
    report
}

/// What is wrong with a disk, in words; empty where nothing is.
fn wrong(disk: &Path) -> Vec<String> {
    match verified(disk) {
        Ok(report) => problems(&report),
        Err(error) => vec![format!("{error}")],
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // e2fsck ends with 1 when it repaired something.
    let most = i32::from(program == "/sbin/e2fsck");
    assert!(output.status.code().is_some_and(|code| code <= most), "{program} {arguments:?}: {text}");
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// More kinds of nodes than `base` has, and attributes of every namespace.
fn odd(tar: &mut tar::Builder<Vec<u8>>) {
    let acl = [
        &2_u32.to_le_bytes()[..],
        &[1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 5, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    tar.append_pax_extensions([("SCHILY.xattr.system.posix_acl_access", acl.as_slice())]).unwrap();
    // The list follows the mode, which says less than the list does.
    tar.append_data(&mut header(tar::EntryType::Regular, 1, 0o640), "acl", &b"x"[..]).unwrap();
    let large = vec![b'v'; 3000];
    for name in ["shared-attributes-1", "shared-attributes-2"] {
        let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[0; 16]].concat();
        tar.append_pax_extensions([
            ("SCHILY.xattr.user.large", large.as_slice()),
            ("SCHILY.xattr.security.capability", capability.as_slice()),
            ("mtime", b"4200000000.123456789"),
        ])
        .unwrap();
        file(tar, name, b"content");
    }
    for (name, major, minor) in [("small", 1, 3), ("large", 259, 70_000)] {
        let mut device = header(tar::EntryType::Block, 0, 0o600);
        device.set_device_major(major).unwrap();
        device.set_device_minor(minor).unwrap();
        tar.append_data(&mut device, format!("device-{name}"), &b""[..]).unwrap();
    }
    tar.append_data(&mut header(tar::EntryType::Fifo, 0, 0o600), "fifo", &b""[..]).unwrap();
    file(tar, "name with spaces\\and\u{e9}", b"");
    let mut owner = header(tar::EntryType::Regular, 2, 0o4755);
    owner.set_uid(100_000);
    owner.set_gid(70_000);
    tar.append_data(&mut owner, "owned", &b"ab"[..]).unwrap();
}

#[test]
fn what_was_baked_verifies_with_every_option() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk.img");
    let mut blobs = Blobs::default();
    let images = [
        image(&mut blobs, "one", &[layer(base), layer(upper), layer(odd)]),
        image(&mut blobs, "two", &[layer(base), layer(odd)]),
    ];
    for (journal, checksums) in [(true, false), (false, true)] {
        let options = BuildOptions { journal, checksums, ..options() };
        let built = build(&images, &blobs, &path, &options, &Silent, &Cancel::default()).unwrap();
        e2fsck(&path);
        let report = good(&path);
        assert_eq!((report.id, report.images, report.layers), (Some(built.id), 2, 4));
        assert_eq!((report.listed, report.summed), (4, if checksums { 4 } else { 0 }));
        assert_eq!(report.warnings, [""; 0]);
        assert_eq!(CacheDisk::open(&path).unwrap().images, images);

        let inspection = inspect(&path).unwrap();
        let fs = inspection.file_system.unwrap();
        assert_eq!((fs.size, fs.used, fs.journal.is_some()), (built.size, built.used, journal));
        assert_eq!(inspection.id, Some(built.id));
        assert_eq!(inspection.layers.iter().map(|layer| layer.files).sum::<u64>(), report.files);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_checked_or_renamed_disk_is_still_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk.img");
    let mut blobs = Blobs::default();
    bake(&[image(&mut blobs, "one", &[layer(base), layer(odd)])], &blobs, &path).unwrap();
    run("/sbin/e2fsck", &["-fyD", text(&path)]);
    run("/sbin/tune2fs", &["-L", "other", "-c", "10", "-m", "1", text(&path)]);
    assert_eq!(good(&path).warnings, [""; 0]);
    run("/sbin/tune2fs", &["-U", "6c1e5a4e-0000-4000-8000-0123456789ab", text(&path)]);
    assert_eq!(good(&path).warnings, ["the file system's UUID is another than the disk was written with"]);
    run("/sbin/tune2fs", &["-O", "^has_journal,^metadata_csum", text(&path)]);
    assert!(good(&path).warnings.contains(&"the file system has no metadata checksums".to_owned()));
}

/// A directory as the reference builder fills a disk; returns the chain ID of its layer.
fn reference(root: &Path) -> ChainId {
    let layer = root.join("snapshots/7/fs");
    fs::create_dir_all(layer.join("etc")).unwrap();
    fs::write(layer.join("etc/hostname"), "larder\n").unwrap();
    fs::write(layer.join("big"), vec![0x5a; 300_000]).unwrap();
    File::create(layer.join("sparse")).unwrap().write_all_at(b"end", 5 << 20).unwrap();
    std::os::unix::fs::symlink("etc/hostname", layer.join("link")).unwrap();
    std::os::unix::fs::symlink("x/".repeat(200), layer.join("long-link")).unwrap();
    for n in 0..400 {
        fs::write(layer.join(format!("a-file-with-a-name-of-some-length-{n}")), n.to_string()).unwrap();
    }
    let sum =
        "find snapshots/7/fs -type f -print0 | xargs -0 md5sum | cut -d' ' -f1 | LC_ALL=C sort | md5sum";
    let sum = Command::new("sh").args(["-c", sum]).current_dir(root).output().unwrap();
    let md5 = String::from_utf8(sum.stdout).unwrap()[..32].to_owned();
    let chain_id = ChainId(Digest::of(b"layer"));
    fs::write(root.join("snapshots.metadata"), format!("{chain_id} snapshots/7/fs {md5}\n")).unwrap();
    let table = format!(
        "REF TYPE DIGEST SIZE PLATFORMS LABELS\nexample.test/a:1 application/x {chain_id} 3.1 MiB linux/amd64 -\n"
    );
    fs::write(root.join("images.metadata"), table).unwrap();
    chain_id
}

fn mkfs(root: &Path, disk: &Path, options: &[&str]) {
    let _ = fs::remove_file(disk);
    let arguments: Vec<&str> =
        ["-q", "-F", "-m", "0", "-d", text(root)].into_iter().chain(options.iter().copied()).collect();
    run("/sbin/mkfs.ext4", &[arguments.as_slice(), &[text(disk), "300M"]].concat());
}

#[test]
fn a_disk_that_e2fsprogs_made_is_read_whatever_its_features() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, disk) = (scratch.path().join("root"), scratch.path().join("disk.img"));
    fs::create_dir(&root).unwrap();
    let chain_id = reference(&root);
    let variants: &[&[&str]] = &[
        &["-b", "4096"],
        &["-E", "lazy_itable_init=0,lazy_journal_init=0,discard"],
        &["-b", "4096", "-O", "^has_journal"],
        &["-b", "4096", "-O", "^metadata_csum"],
        &["-b", "1024", "-I", "128", "-O", "^metadata_csum,uninit_bg"],
        &["-b", "1024", "-O", "^64bit"],
        &["-b", "2048", "-O", "^resize_inode,^flex_bg"],
        &["-b", "4096", "-O", "metadata_csum_seed,orphan_file"],
        &["-b", "4096", "-O", "^sparse_super,^resize_inode"],
        &["-b", "4096", "-O", "sparse_super2,^resize_inode", "-E", "num_backup_sb=2"],
        &["-b", "4096", "-O", "mmp"],
        &["-b", "4096", "-O", "quota,project"],
        &["-b", "4096", "-g", "4096", "-N", "2000"],
    ];
    for options in variants {
        mkfs(&root, &disk, options);
        let report = good(&disk);
        assert_eq!((report.id, report.images, report.layers, report.summed), (None, 1, 1, 1), "{options:?}");
        assert!(report.warnings.iter().any(|warning| warning.contains("opaque")), "{options:?}");
        let inspection = inspect(&disk).unwrap();
        assert_eq!(inspection.layers[0].chain_id, chain_id);
        assert_eq!((inspection.layers[0].number, inspection.layers[0].files), (7, 407));
    }
    mkfs(&root, &disk, &["-b", "4096"]);
    run("/sbin/e2fsck", &["-fyD", text(&disk)]);
    good(&disk);
}

#[test]
fn what_is_no_ext4_disk_is_refused_with_a_reason() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    reference(&root);
    let disk = scratch.path().join("disk.img");
    let refused = || {
        let error = verified(&disk).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    for (options, reason) in [
        (&["-O", "bigalloc"][..], "the feature bigalloc: not supported"),
        (&["-O", "inline_data"], "the feature inline_data: not supported"),
        (&["-O", "^extent,^64bit"], "ext2 or ext3, without extents: not supported"),
    ] {
        mkfs(&root, &disk, options);
        assert!(refused().starts_with(reason), "{}", refused());
    }
    mkfs(&root, &disk, &[]);
    File::options().write(true).open(&disk).unwrap().set_len(200 << 20).unwrap();
    assert!(refused().starts_with("it is truncated: the file system has 300 MiB"), "{}", refused());
    fs::write(&disk, vec![0; 100_000]).unwrap();
    assert_eq!(refused(), "no ext4 file system begins here");
    fs::write(&disk, "short").unwrap();
    assert_eq!(refused(), "no ext4 file system begins here");
}

#[test]
fn an_empty_disk_fails() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, disk) = (scratch.path().join("root"), scratch.path().join("disk.img"));
    fs::create_dir(&root).unwrap();
    mkfs(&root, &disk, &[]);
    assert_eq!(wrong(&disk), ["there is no image and no layer on the disk"]);
    fs::write(root.join("snapshots.metadata"), "").unwrap();
    fs::write(root.join("images.metadata"), "REF TYPE DIGEST SIZE PLATFORMS LABELS\n").unwrap();
    assert_eq!(wrong(&root), ["there is no image and no layer on the disk"]);
}

/// Where `needle` stands in a disk.
fn position(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).unwrap()
}

#[test]
fn a_changed_byte_is_told_with_image_layer_and_path() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk.img");
    let mut blobs = Blobs::default();
    let baked = image(&mut blobs, "one", &[layer(base), layer(upper)]);
    bake(std::slice::from_ref(&baked), &blobs, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let [base, upper] = [0, 1].map(|place| baked.layers[place].chain_id);
    let config = format!("blobs/sha256/{}", baked.config.descriptor.digest.hex());
    let image = "image docker.io/library/one:latest: ";
    let table: [(&[u8], String); 6] = [
        (b"larder\n", format!("{image}layer {base}: etc/hostname: its content is not what the listing says")),
        (b"in tmp", format!("{image}layer {upper}: tmp/implied: its content is not what the listing says")),
        (b"x/x/x/x/", format!("{image}layer {base}: long: its content is not what the listing says")),
        (baked.config.bytes.as_ref(), format!("{config}: its digest is ")),
        (b"{\"imageLayoutVersion", "oci-layout: it is of another version, or damaged".to_owned()),
        (b"REF ", "images.metadata: it is not the table of the disk's images".to_owned()),
    ];
    for (needle, expected) in table {
        let mut damaged = bytes.clone();
        damaged[position(&bytes, needle)] ^= 1;
        fs::write(&path, damaged).unwrap();
        let said = wrong(&path);
        assert!(said.iter().any(|line| line.starts_with(&expected)), "{expected}: {said:?}");
    }
    // The inode of a file, and a block of its directory: told by path as well.
    let mut damaged = bytes.clone();
    let name = position(&bytes, b"file-with-a-name-of-some-length-2999");
    damaged[name] ^= 1;
    fs::write(&path, damaged).unwrap();
    let said = wrong(&path);
    assert!(
        said[0].starts_with(&format!("{image}layer {base}: many: inode "))
            && said[0].contains("directory block"),
        "{said:?}"
    );
}

#[test]
fn a_mounted_disk_is_verified_as_far_as_it_can_be_seen() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    reference(&root);
    let report = good(&root);
    assert_eq!((report.layers, report.summed), (1, 1));
    assert!(
        report.warnings.contains(&"the disk is mounted: its file system itself was not checked".to_owned())
    );
    assert_eq!(inspect(&root).unwrap().file_system, None);
    // A link in a directory's place leads nowhere, wherever it points.
    fs::rename(root.join("snapshots"), root.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", root.join("snapshots")).unwrap();
    assert!(!wrong(&root).is_empty());
}

#[test]
fn foreign_directories_and_doubled_lines_are_told() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let chain_id = reference(root);
    fs::create_dir_all(root.join("snapshots/8/fs")).unwrap();
    fs::write(root.join("stranger"), "").unwrap();
    let line = fs::read_to_string(root.join("snapshots.metadata")).unwrap();
    let other = ChainId(Digest::of(b"other"));
    fs::write(root.join("snapshots.metadata"), format!("{line}{line}{other} snapshots/9/fs\nnonsense"))
        .unwrap();
    let report = verified(root).unwrap();
    let expected = [
        "snapshots.metadata line 4: \"nonsense\" is not a chain ID and the directory of a layer".to_owned(),
        format!("snapshots.metadata: it names {chain_id} and snapshots/7/fs more than once"),
        "snapshots.metadata: its last line is cut off".to_owned(),
        "snapshots/8: snapshots.metadata does not name it".to_owned(),
        format!("layer {other}: snapshots/9/fs: there is no such file"),
    ];
    assert_eq!(problems(&report), expected);
    assert!(report.warnings.contains(&"stranger is not part of a cache disk".to_owned()));
}

#[test]
fn a_diff_counts_layers_that_came_and_went() {
    let scratch = tempfile::tempdir().unwrap();
    let (old, new) = (scratch.path().join("old"), scratch.path().join("new"));
    let mut blobs = Blobs::default();
    let before =
        [image(&mut blobs, "app", &[layer(base), layer(odd)]), image(&mut blobs, "gone", &[layer(odd)])];
    let after =
        [image(&mut blobs, "app", &[layer(base), layer(upper)]), image(&mut blobs, "new", &[layer(base)])];
    bake(&before, &blobs, &old).unwrap();
    bake(&after, &blobs, &new).unwrap();
    let diff = diff(&inspect(&old).unwrap(), &inspect(&new).unwrap());
    let changes: BTreeMap<&str, Change> =
        diff.images.iter().map(|image| (image.name.as_str(), image.change)).collect();
    let expected = [("app", Change::Changed), ("gone", Change::Gone), ("new", Change::Added)];
    assert_eq!(
        changes,
        expected
            .map(|(name, change)| (format!("docker.io/library/{name}:latest"), change))
            .iter()
            .map(|(name, change)| (name.as_str(), *change))
            .collect()
    );
    assert_eq!((diff.added.layers, diff.kept.layers, diff.gone.layers), (1, 1, 2));
    assert!(diff.kept.bytes > 3_000_000);
}

/// A disk with every structure, and little of each.
fn small(path: &Path, journal: bool) {
    fn contents(tar: &mut tar::Builder<Vec<u8>>) {
        directory(tar, "d/", 0o755);
        file(tar, "d/file", b"content");
        tar.append_link(&mut header(tar::EntryType::Link, 0, 0o600), "d/hard", "d/file").unwrap();
        tar.append_link(&mut header(tar::EntryType::Symlink, 0, 0o777), "long", "x/".repeat(100)).unwrap();
        tar.append_pax_extensions([("SCHILY.xattr.user.large", &[b'v'; 2000][..])]).unwrap();
        file(tar, "attributes", b"");
        for n in 0..120 {
            file(tar, &format!("many/a-file-with-a-name-of-some-length-{n}"), b"");
        }
    }
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "small", &[layer(contents)])];
    let options = BuildOptions { journal, ..options() };
    build(&images, &blobs, path, &options, &Silent, &Cancel::default()).unwrap();
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn every_byte_of_the_metadata_that_has_a_meaning_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk.img");
    small(&path, true);
    let bytes = fs::read(&path).unwrap();
    let layout = run("/sbin/dumpe2fs", &[text(&path)]);
    let block = |what: &str| -> usize {
        let rest = layout.split(what).nth(1).unwrap();
        let digits: String =
            rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().unwrap() * 4096
    };
    let (inodes, blocks, table) =
        (block("Inode bitmap at"), block("Block bitmap at"), block("Inode table at"));
    let index = position(&bytes, b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index");
    let many = position(&bytes, b"a-file-with-a-name-of-some-length-7\0") & !4095;
    let attributes = position(&bytes, &[b'v'; 2000]) & !4095;
    let ranges = [
        // The superblock, the descriptor, both bitmaps, the root's inode and those of the first files.
        1024..2048,
        4096..4096 + 64,
        inodes..inodes + 4096,
        blocks..blocks + 4096,
        table + 256..table + 512,
        table + 10 * 256..table + 20 * 256,
        // A directory's block, a block of attributes, and a file that nothing but the UUID vouches for.
        many..many + 4096,
        attributes..attributes + 4096,
        index..index + 400,
    ];
    let disk = File::options().write(true).open(&path).unwrap();
    for (number, range) in ranges.into_iter().enumerate() {
        for at in range.step_by(3) {
            disk.write_all_at(&[!bytes[at]], at as u64).unwrap();
            assert_ne!(wrong(&path), [""; 0], "range {number}, byte {at} ({} in its block)", at % 4096);
            disk.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
    good(&path);
}

#[test]
fn damage_of_any_size_ends_in_a_report() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, path) = (scratch.path().join("root"), scratch.path().join("disk.img"));
    fs::create_dir(&root).unwrap();
    reference(&root);
    // Without checksums every byte is believed until it contradicts another.
    mkfs(&root, &path, &["-b", "1024", "-O", "^metadata_csum,^has_journal"]);
    run("/sbin/resize2fs", &["-M", text(&path)]);
    let bytes = fs::read(&path).unwrap();
    let mut numbers = Numbers(0x5eed_0002);
    let disk = File::options().write(true).open(&path).unwrap();
    for round in 0..150 {
        let places: Vec<usize> = (0..=numbers.below(7))
            .map(|_| if round % 2 == 0 { numbers.below(40 << 10) } else { numbers.below(bytes.len() - 4) })
            .collect();
        for at in &places {
            let value = [0, 1, 0xff, u8::try_from(numbers.below(256)).unwrap()][numbers.below(4)];
            let length = 1 + numbers.below(4);
            disk.write_all_at(&vec![value; length], *at as u64).unwrap();
        }
        let _report = wrong(&path);
        let _inspection = inspect(&path);
        let _disk = CacheDisk::open(&path);
        for at in places {
            disk.write_all_at(&bytes[at..at + 4], at as u64).unwrap();
        }
    }
    good(&path);
}

#[test]
fn structures_that_contradict_each_other_are_told_by_path() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, disk) = (scratch.path().join("root"), scratch.path().join("disk.img"));
    fs::create_dir(&root).unwrap();
    let layer = reference(&root);
    mkfs(&root, &disk, &["-b", "4096"]);
    let bytes = fs::read(&disk).unwrap();
    let (file, other) =
        ("/snapshots/7/fs/etc/hostname", "/snapshots/7/fs/a-file-with-a-name-of-some-length-5");
    let debugfs = |command: &str| run("/sbin/debugfs", &["-w", "-R", command, text(&disk)]);
    let block_of = |path: &str| -> u64 {
        let said = debugfs(&format!("blocks {path}"));
        said.lines().find_map(|line| line.trim().parse().ok()).unwrap()
    };
    let block = block_of(file);
    let taken = format!("block {block} belongs to something else too");
    // Checksums are right after each of these: debugfs writes them anew.
    let table = [
        (format!("sif {file} links_count 3"), vec![("etc/hostname", "it counts 3 links, and has 1")]),
        (format!("unlink {file}"), vec![("", "it has no name")]),
        (format!("ln {file} /snapshots/7/fs/again"), vec![("again", "it counts 1 links, and has 2")]),
        (format!("freei {file}"), vec![("etc", "it names hostname an inode that is not in use")]),
        (format!("sif {file} blocks 80"), vec![("etc/hostname", "its count of blocks is wrong")]),
        (
            format!("sif {other} block[5] {block}"),
            vec![("etc/hostname", taken.as_str()), ("a-file-with-a-name-of-some-length-5", taken.as_str())],
        ),
        (format!("freeb {block}"), vec![("", "is in use, and marked free")]),
        ("setb 60000".to_owned(), vec![("", "block 60000 is nobody's, and marked as in use")]),
        (format!("sif {file} block[5] 4000000000"), vec![("etc/hostname", "reach beyond the file system")]),
        ("ssv free_inodes_count 5".to_owned(), vec![("", "superblock: its count of free inodes is wrong")]),
        ("ssv state 2".to_owned(), vec![("", "superblock: it is marked as having errors")]),
        ("feature needs_recovery".to_owned(), vec![("", "the journal holds changes")]),
    ];
    for (command, expected) in table {
        fs::write(&disk, &bytes).unwrap();
        debugfs(&command);
        let report = verified(&disk).unwrap();
        for (path, what) in expected {
            let told = report.problems.iter().any(|problem| {
                let at = (problem.path.as_deref().unwrap_or(""), problem.layer.is_some());
                at == (path, !path.is_empty()) && problem.problem.contains(what)
            });
            assert!(told, "{command}: {path}: {what}: {:?}", problems(&report));
        }
        assert!(report.problems.iter().all(|problem| problem.layer.is_none_or(|at| at == layer)));
    }
}
