//! `larder build` on real parts: registries, layouts and archives in; files and block devices out; judged by e2fsck, by the kernel,
//! by a second ext4 reader, and by what containerd unpacks from the same images.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use larder_core::ChainId;
use larder_tests::containerd::on_each;
use larder_tests::image::{
    Compression, Entry, Image, ImageBuilder, LayerBuilder, MultiImage, access_lists, busybox, deep, torture,
};
use larder_tests::larder::{self, Ran, larder};
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::process::run;
use larder_tests::registry::{Credentials, Registry};
use larder_tests::tree;

/// Where the disk mounted at `root` keeps a layer.
fn layer_on(root: &Path, chain_id: ChainId) -> PathBuf {
    let metadata = fs::read_to_string(root.join("snapshots.metadata")).unwrap();
    let line = metadata.lines().find(|line| line.starts_with(&chain_id.to_string())).unwrap();
    root.join(line.split(' ').nth(1).unwrap())
}

fn e2fsck(disk: &Path) {
    let said = run(Command::new("e2fsck").arg("-fn").arg(disk)).unwrap();
    assert!(!said.contains("WARNING") && !said.contains("no\n"), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn bake(images: &[&str], disk: &Path) -> String {
    let arguments =
        ["build", "--quiet", "--plain-http", "-o", text(disk)].into_iter().chain(images.iter().copied());
    larder(arguments).unwrap().done().unwrap()
}

fn read_index(disk: &Path) -> serde_json::Value {
    let mounted = Mount::image(disk).unwrap();
    serde_json::from_slice(&fs::read(mounted.path().join("index.json")).unwrap()).unwrap()
}

#[test]
fn layers_are_what_each_containerd_unpacks_itself() {
    compare_with_each_containerd(&torture().unwrap());
}

#[test]
fn access_control_lists_are_inherited_and_removed_as_in_each_containerd() {
    compare_with_each_containerd(&access_lists().unwrap());
}

fn compare_with_each_containerd(image: &Image) {
    let registry = Registry::start().unwrap();
    let reference = registry.push(image, "bake/compared:1").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    bake(&[&reference.to_string()], &disk);
    e2fsck(&disk);
    let mounted = Mount::image(&disk).unwrap();
    on_each(|containerd| {
        containerd.pull(&reference)?;
        let unpacked = containerd.layer_directories(*image.chain_ids().last().unwrap())?;
        for ((chain_id, theirs), layer) in image.chain_ids().into_iter().zip(unpacked).zip(&image.layers) {
            let ours = tree::read(&layer_on(mounted.path(), chain_id))?;
            let theirs = tree::read(&theirs)?;
            assert!(ours.len() > 1, "the comparison compares something");
            // What the tar does not name has the time of the unpacking.
            assert_eq!(tree::diff(&ours, &theirs, |path| !layer.names(path)), [""; 0], "layer {chain_id}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_second_reader_agrees_with_the_kernel() {
    let registry = Registry::start().unwrap();
    let reference = registry.push(&torture().unwrap(), "bake/reader:1").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    bake(&[&reference.to_string()], &disk);
    let mounted = Mount::image(&disk).unwrap();
    let kernel = tree::read(mounted.path()).unwrap();
    let reader = ext4_view::Ext4::load(Box::new(File::open(&disk).unwrap())).unwrap();
    let mut compared = 0;
    // This reader refuses times whose low 32 bits are negative: 1901 to 1969, 2038 to 2105, and so on.
    let readable = |seconds: i64| seconds & 1 << 31 == 0;
    for (path, entry) in kernel.iter().filter(|(_, entry)| readable(entry.mtime.0)) {
        let absolute = [b"/", path.as_slice()].concat();
        let seen = reader.symlink_metadata(ext4_view::Path::try_from(absolute.as_slice()).unwrap()).unwrap();
        assert_eq!((seen.uid(), seen.gid()), (entry.uid, entry.gid), "{path:?}");
        assert_eq!(u32::from(seen.mode() & 0o7777), entry.mode & 0o7777, "{path:?}");
        if seen.file_type() == ext4_view::FileType::Regular {
            let bytes = reader.read(ext4_view::Path::try_from(absolute.as_slice()).unwrap()).unwrap();
            assert_eq!(bytes, fs::read(mounted.path().join(os(path))).unwrap(), "{path:?}");
        }
        compared += 1;
    }
    assert!(compared > 50, "only {compared} entries");
}

fn os(path: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(path)
}

#[test]
fn every_source_and_compression_gives_the_same_listings() {
    let registry = Registry::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let layer = |compression| {
        let entries = (0..500).map(|n| Entry::file(format!("data/{n}"), vec![b'x'; n * 10]));
        LayerBuilder::default().entries(entries).build(compression).unwrap()
    };
    let mut listings = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let base = busybox().unwrap().build(compression).unwrap();
        let image = ImageBuilder::default().layer(&base).layer(&layer(compression)).build();
        let pushed = registry.push(&image, "bake/same:1").unwrap().to_string();
        let layout = directory.path().join("layout");
        fs::create_dir(&layout).unwrap();
        image.write_layout(&layout, "v1").unwrap();
        let archive = directory.path().join("archive.tar");
        image.write_docker_archive(&archive, "example.test/same:1").unwrap();
        let sources =
            [pushed, format!("oci:{}:v1", layout.display()), format!("docker-archive:{}", archive.display())];
        for source in sources {
            let disk = directory.path().join("disk.img");
            bake(&[&source], &disk);
            let index = read_index(&disk);
            let manifests = index["manifests"].as_array().unwrap();
            listings.push(manifests.last().unwrap()["digest"].as_str().unwrap().to_owned());
        }
        fs::remove_dir_all(&layout).unwrap();
    }
    listings.dedup();
    assert_eq!(listings.len(), 1, "{listings:?}");
}

#[test]
fn an_unprivileged_user_bakes_the_same_disk() {
    let registry = Registry::start().unwrap();
    let reference = registry.push(&torture().unwrap(), "bake/unprivileged:1").unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (roots, theirs) = (directory.path().join("root.img"), directory.path().join("user.img"));
    bake(&[&reference], &roots);
    // A copy, for the checkout may be closed to others.
    let binary = directory.path().join("larder");
    fs::copy(larder::binary().unwrap(), &binary).unwrap();
    let mut unprivileged = Command::new("setpriv");
    unprivileged
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .env("HOME", "/nonexistent");
    unprivileged.arg(&binary).args(["build", "--quiet", "--plain-http", &reference, "-o"]).arg(&theirs);
    larder::finished(&mut unprivileged).unwrap().done().unwrap();
    assert_eq!(fs::metadata(&theirs).unwrap().uid(), 65534);
    e2fsck(&theirs);
    assert_eq!(read_index(&theirs), read_index(&roots));
}

#[test]
fn a_device_full_of_ones_gives_the_same_disk() {
    let registry = Registry::start().unwrap();
    let reference = registry.push(&torture().unwrap(), "bake/device:1").unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("device");
    let mut device = File::create(&file).unwrap();
    for _ in 0..160 {
        device.write_all(&vec![0xff; 1 << 20]).unwrap();
    }
    device.sync_all().unwrap();
    let device = LoopDevice::attach_direct(&file, Access::ReadWrite).unwrap();
    bake(&[&reference], device.path());
    e2fsck(device.path());
    let disk = directory.path().join("disk.img");
    bake(&[&reference], &disk);
    let (from_file, from_device) =
        (Mount::image(&disk).unwrap(), Mount::ext4(device.path(), Access::ReadOnly).unwrap());
    let [file_tree, device_tree] = [&from_file, &from_device].map(|mount| tree::read(mount.path()).unwrap());
    assert_eq!(tree::diff(&file_tree, &device_tree, |_| false), [""; 0]);

    let refused = |arguments: &[&str]| {
        let build = ["build", "--quiet", "--plain-http", &reference, "-o", text(device.path())];
        let ran = larder(build.iter().chain(arguments)).unwrap();
        assert_eq!(ran.status, Some(1), "{ran:?}");
        ran.stderr
    };
    assert!(refused(&["--force"]).contains("is mounted at "), "never while it is mounted");
    drop(from_device);
    assert!(refused(&[]).contains("holds an ext2, ext3 or ext4 file system: use --force"));
    larder(["build", "--quiet", "--plain-http", "--force", &reference, "-o", text(device.path())])
        .unwrap()
        .done()
        .unwrap();
    e2fsck(device.path());
}

#[test]
fn references_credentials_and_platforms_are_understood() {
    let credentials = Credentials { user: "lab".to_owned(), password: "se cret".to_owned() };
    let registry = Registry::start_with_basic_auth(credentials).unwrap();
    let here = ImageBuilder::default().layer(&busybox().unwrap().build(Compression::Gzip).unwrap()).build();
    let other = ImageBuilder::default().platform("linux/s390x".parse().unwrap());
    let other = other
        .layer(&LayerBuilder::default().entry(Entry::file("s390x", "x")).build(Compression::Zstd).unwrap());
    let multi = MultiImage::of(vec![other.build(), here]);
    let reference = registry.push_multi(&multi, "bake/multi:1").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    let config = directory.path().join("config.json");
    // "lab:se cret"
    let auths = serde_json::json!({"auths": {registry.address(): {"auth": "bGFiOnNlIGNyZXQ="}}});
    fs::write(&config, auths.to_string()).unwrap();
    let build = |more: &[&str]| {
        let common = ["build", "--quiet", "-o", text(&disk), "--docker-config", text(&config)];
        let plain = format!("--plain-http={}", registry.address());
        larder(common.into_iter().chain([plain.as_str()]).chain(more.iter().copied())).unwrap()
    };
    let digest = multi.index.descriptor.digest;
    let both = format!("{reference}@{digest}");
    let said = build(&[&reference.to_string(), &both, &reference.at(digest).to_string()]).done().unwrap();
    assert_eq!(said.lines().filter(|line| line.ends_with(&digest.to_string())).count(), 3);
    build(&["--platform", "linux/s390x", &reference.to_string()]).done().unwrap();
    let missing = build(&["--platform", "linux/arm64", &reference.to_string()]);
    assert_eq!(missing.status, Some(1));
    assert!(
        missing.stderr.contains("no image for linux/arm64") && missing.stderr.contains("linux/s390x"),
        "{missing:?}"
    );
    fs::write(&config, "{}").unwrap();
    let anonymous = build(&[&reference.to_string()]);
    assert!(
        anonymous.stderr.contains(&reference.to_string())
            && anonymous.stderr.contains("asks for a user name and a password"),
        "{anonymous:?}"
    );
}

#[test]
fn exit_statuses_tell_what_happened_and_errors_are_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    let one_line = |ran: &Ran| ran.stderr.lines().count() == 1 && ran.stderr.starts_with("error: ");
    let usage = [
        vec!["build"],
        vec!["build", "redis"],
        vec!["build", "UPPER", "-o", text(&disk)],
        vec!["nonsense"],
        vec!["attach"],
        vec!["detach", "--disk"],
    ];
    for arguments in usage {
        assert_eq!(larder(&arguments).unwrap().status, Some(2), "{arguments:?}");
    }
    assert_eq!(larder(["--version"]).unwrap().status, Some(0));
    let failures = [
        vec!["build", "--plain-http", "127.0.0.1:9/away:1", "-o", text(&disk)],
        vec!["build", "oci:/nonexistent:v1", "-o", text(&disk)],
        vec!["build", "docker-archive:/nonexistent.tar", "-o", text(&disk)],
        vec!["attach", "--disk", "/nonexistent"],
        vec!["attach", "--disk", text(directory.path()), "--containerd", "/nonexistent.sock"],
        vec!["detach", "--containerd", "/nonexistent.sock", "--state-dir", text(directory.path())],
    ];
    for arguments in failures {
        let ran = larder(&arguments).unwrap();
        assert!(ran.status == Some(1) && one_line(&ran), "{arguments:?}: {ran:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn an_interrupted_build_ends_with_130_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // A registry that accepts a connection and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/stalled:1", listener.local_addr().unwrap());
    let mut child = larder::command().unwrap();
    child.args(["build", "--plain-http", &image, "-o", text(&directory.path().join("disk.img"))]);
    let mut child = child.spawn().unwrap();
    let _connection = listener.accept().unwrap();
    run(Command::new("kill").args(["-INT", &child.id().to_string()])).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_layer_is_named_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    fs::create_dir(&layout).unwrap();
    let image: Image = deep(3).unwrap();
    image.write_layout(&layout, "v1").unwrap();
    let victim = image.layer_digests()[1];
    let blob = layout.join("blobs/sha256").join(victim.hex());
    let good = fs::read(&blob).unwrap();
    let source = format!("oci:{}:v1", layout.display());
    let disk = directory.path().join("disk.img");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [flipped, good[..good.len() - 1].to_vec(), [good.as_slice(), b"more"].concat()] {
        fs::write(&blob, damaged).unwrap();
        let ran = larder(["build", "--quiet", &source, "-o", text(&disk)]).unwrap();
        assert_eq!(ran.status, Some(1));
        assert!(ran.stderr.contains(&victim.to_string()) && ran.stderr.lines().count() == 1, "{ran:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_disk_of_120_layers_is_clean() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    fs::create_dir(&layout).unwrap();
    deep(120).unwrap().write_layout(&layout, "v1").unwrap();
    let disk = directory.path().join("disk.img");
    bake(&[&format!("oci:{}:v1", layout.display())], &disk);
    e2fsck(&disk);
}
