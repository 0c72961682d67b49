//! `larder inspect`, `verify` and `diff` on real parts: disks that larder baked, as images, devices and mounts, after e2fsprogs and
//! the kernel had them; and disks made as the reference builder makes them, from what a containerd unpacked.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use larder_core::ChainId;
use larder_tests::containerd::{Containerd, Version};
use larder_tests::image::{Image, deep, torture};
use larder_tests::larder::{self, Ran, larder};
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::process::run;
use larder_tests::registry::Registry;
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Bakes `image` from an OCI layout beside the disk.
fn bake(image: &Image, disk: &Path, options: &[&str]) {
    let layout = disk.with_extension("layout");
    fs::create_dir_all(&layout).unwrap();
    image.write_layout(&layout, "v1").unwrap();
    let source = format!("example.test/app:1=oci:{}:v1", layout.display());
    let arguments = ["build", "--quiet", &source, "-o", text(disk)];
    larder(arguments.iter().chain(options)).unwrap().done().unwrap();
}

fn verify(disk: &Path) -> Ran {
    larder(["verify", text(disk)]).unwrap()
}

#[track_caller]
fn good(disk: &Path) -> String {
    let said = verify(disk).done().unwrap();
    assert!(said.contains(": good: "), "{said}");
    said
}

fn json(arguments: &[&str]) -> Value {
    let said = larder(arguments.iter().chain(&["-o", "json"])).unwrap();
    serde_json::from_str(&said.done().unwrap()).unwrap()
}

#[test]
fn a_baked_disk_verifies_wherever_it_is_and_whoever_had_it() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = scratch.path().join("disk.img");
    let image = torture().unwrap();
    bake(&image, &disk, &["--store-snapshot-checksum"]);
    let layers = image.layers.len();
    let all = format!("{layers} layers ({layers} against their listings, {layers} against an md5)");
    let said = good(&disk);
    assert!(said.contains(&all) && !said.contains("warning"), "{said}");

    let device = LoopDevice::attach(&disk, Access::ReadOnly).unwrap();
    assert!(good(device.path()).contains(&all));
    drop(device);
    let mounted = Mount::image(&disk).unwrap();
    let said = good(mounted.path());
    assert!(said.contains(&all) && said.contains("warning: the disk is mounted"), "{said}");
    drop(mounted);

    larder::finished(Command::new("e2fsck").arg("-fyD").arg(&disk)).unwrap();
    assert!(good(&disk).contains(&all), "after e2fsck");
    run(Command::new("tune2fs").args(["-L", "elsewhere", "-c", "5"]).arg(&disk)).unwrap();
    let device = LoopDevice::attach(&disk, Access::ReadWrite).unwrap();
    drop(Mount::ext4(device.path(), Access::ReadWrite).unwrap());
    drop(device);
    assert!(good(&disk).contains(&all), "after the kernel had it writable");
}

#[test]
fn an_unprivileged_user_inspects_verifies_and_compares() {
    let scratch = tempfile::tempdir().unwrap();
    let (old, new) = (scratch.path().join("old.img"), scratch.path().join("new.img"));
    let image = torture().unwrap();
    bake(&image, &old, &[]);
    bake(&deep(3).unwrap(), &new, &["--no-journal"]);
    let binary = scratch.path().join("larder");
    fs::copy(larder::binary().unwrap(), &binary).unwrap();
    run(Command::new("chmod").arg("a+rx").arg(scratch.path())).unwrap();
    run(Command::new("chmod").arg("a+r").args([&old, &new])).unwrap();
    let unprivileged = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
        larder::finished(command.arg(&binary).args(arguments)).unwrap().done().unwrap()
    };
    assert!(unprivileged(&["verify", text(&old)]).contains(": good: "));

    let inspected: Value =
        serde_json::from_str(&unprivileged(&["inspect", text(&old), "-o", "json"])).unwrap();
    let app = &inspected["images"][0];
    assert_eq!(app["name"], "example.test/app:1");
    assert_eq!(app["digest"], image.digest().to_string());
    let chain_ids: Vec<String> = image.chain_ids().iter().map(ToString::to_string).collect();
    assert_eq!(app["layers"], serde_json::json!(chain_ids));
    let bytes = |value: &Value| value.as_u64().unwrap();
    let sum: u64 = inspected["layers"].as_array().unwrap().iter().map(|layer| bytes(&layer["bytes"])).sum();
    assert_eq!((bytes(&app["diskBytes"]), bytes(&app["ownBytes"])), (sum, sum));
    assert!(bytes(&inspected["fileSystem"]["used"]) > sum && bytes(&app["compressedBytes"]) > 0);
    assert!(bytes(&inspected["fileSystem"]["journal"]) > 0);
    let table = unprivileged(&["inspect", text(&old)]);
    assert!(table.contains("IMAGE") && table.contains(&chain_ids[0]["sha256:".len()..][..12]), "{table}");
    assert!(unprivileged(&["inspect", text(&old), "-o", "yaml"]).contains("chainId: sha256:"));

    let diff: Value =
        serde_json::from_str(&unprivileged(&["diff", text(&old), text(&new), "-o", "json"])).unwrap();
    assert_eq!(diff["images"][0]["change"], "changed");
    assert_eq!((&diff["added"]["layers"], &diff["gone"]["layers"]), (&3.into(), &image.layers.len().into()));
    assert!(unprivileged(&["diff", text(&old), text(&old)]).contains("added 0 layers (0 B), kept "));
}

/// What the reference builder does with a new disk: its file system, its copies, its checksums, its tables.
fn reference(disk: &Path, containerd: &Containerd, image: &Image) {
    fs::File::create(disk).unwrap().set_len(1 << 30).unwrap();
    let options = "lazy_itable_init=0,lazy_journal_init=0,discard";
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", options]).arg(disk)).unwrap();
    let device = LoopDevice::attach(disk, Access::ReadWrite).unwrap();
    let mounted = Mount::ext4(device.path(), Access::ReadWrite).unwrap();
    let root = mounted.path();
    let mut lines = String::new();
    let unpacked = containerd.layer_directories(*image.chain_ids().last().unwrap()).unwrap();
    for (chain_id, from) in image.chain_ids().into_iter().zip(unpacked) {
        let directory: PathBuf = from.iter().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect();
        let to = root.join(&directory);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        run(Command::new("cp").args(["-r", "-p"]).arg(&from).arg(&to)).unwrap();
        writeln!(lines, "{chain_id} {} {}", directory.display(), md5(&to)).unwrap();
    }
    fs::write(root.join("snapshots.metadata"), lines).unwrap();
    fs::write(root.join("images.metadata"), containerd.ctr(&["images", "ls"]).unwrap()).unwrap();
    run(Command::new("chmod").arg("a+w").arg(root).arg(root.join("snapshots.metadata"))).unwrap();
}

/// As the reference's own verification computes it.
fn md5(directory: &Path) -> String {
    let script = r#"find "$1" -type f -exec md5sum {} + | sed 's/^\\//' | cut -d' ' -f1 | LC_ALL=C sort | md5sum | cut -d' ' -f1"#;
    run(Command::new("sh").args(["-c", script, "sh"]).arg(directory)).unwrap().trim().to_owned()
}

#[test]
fn a_disk_of_the_reference_is_checked_as_far_as_it_goes() {
    let registry = Registry::start().unwrap();
    let containerd = Containerd::start(Version::V1_7).unwrap();
    let image = torture().unwrap();
    let pushed = registry.push(&image, "verify/torture:1").unwrap();
    containerd.pull(&pushed).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let disk = scratch.path().join("disk.img");
    reference(&disk, &containerd, &image);
    let said = good(&disk);
    let layers = image.layers.len();
    assert!(
        said.contains(&format!("{layers} layers (0 against their listings, {layers} against an md5)")),
        "{said}"
    );
    assert!(
        said.contains("warning: another builder made this disk") && said.contains("hard links"),
        "{said}"
    );
    let inspected = json(&["inspect", text(&disk)]);
    let names: Vec<&str> =
        inspected["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
    assert!(names.contains(&pushed.to_string().as_str()), "{names:?}");
    assert_eq!(inspected["layers"].as_array().unwrap().len(), layers);

    let base: ChainId = image.chain_ids()[0];
    let bytes = fs::read(&disk).unwrap();
    // The kernel and e2fsck are content with this: only the md5 tells.
    let needle = b"root:x:0:0:root:/:/bin/sh\n";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().write_all_at(b"R", at as u64).unwrap();
    run(Command::new("e2fsck").arg("-fn").arg(&disk)).unwrap();
    let ran = verify(&disk);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let problems: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("problem: ")).collect();
    let expected = format!(
        "problem: layer {base}: the contents of its files are not those of the md5 in snapshots.metadata"
    );
    assert_eq!(problems, [expected]);
}

#[test]
fn what_holds_nothing_or_no_disk_fails_in_one_line() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = scratch.path().join("disk.img");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let one_line = |ran: &Ran| ran.status == Some(1) && ran.stderr.lines().count() == 1;
    let ran = verify(&disk);
    assert!(one_line(&ran) && ran.stderr.contains("no ext4 file system begins here"), "{ran:?}");
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk)).unwrap();
    let ran = verify(&disk);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stdout.contains("problem: there is no image and no layer on the disk\n"), "{ran:?}");
    let ran = larder(["inspect", text(&disk)]).unwrap();
    assert!(one_line(&ran) && ran.stderr.contains("snapshots.metadata: there is no such file"), "{ran:?}");
    for arguments in
        [&["verify"][..], &["diff", "a"], &["inspect", "a", "-o", "xml"], &["completion", "tcsh"]]
    {
        assert_eq!(larder(arguments).unwrap().status, Some(2), "{arguments:?}");
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = larder(["completion", shell]).unwrap().done().unwrap();
        for command in ["build", "inspect", "verify", "diff", "attach", "detach", "completion"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let script = scratch.path().join("larder.bash");
    fs::write(&script, larder(["completion", "bash"]).unwrap().done().unwrap()).unwrap();
    run(Command::new("bash").arg("-n").arg(&script)).unwrap();
}
