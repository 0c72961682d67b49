//! What goes wrong with attached disks, first shown on a real containerd, and what Larder does about it.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use larder_core::ImageRef;
use larder_tests::containerd::{Containerd, on_each};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, busybox, torture};
use larder_tests::larder::{Ran, command, finished, node_arguments};
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::node::{BakedDisk, State, attach, dangling, expect_run, links, node};
use larder_tests::process::{run, until};
use larder_tests::registry::Registry;
use larder_tests::tree::{self, Tree};

const ENDS: Duration = Duration::from_secs(30);

fn base() -> Layer {
    busybox().unwrap().build(Compression::Gzip).unwrap()
}

/// An image that prints `text`, on `base`.
fn saying(base: &Layer, text: &str) -> Image {
    let own = LayerBuilder::default().entry(Entry::file("own", text)).build(Compression::Gzip).unwrap();
    ImageBuilder::default().layers([base, &own]).cmd(&["/bin/busybox", "cat", "/own"]).build()
}

/// Images of these names, which print their names.
fn registry_of(base: &Layer, names: &[&str]) -> (Registry, Vec<ImageRef>) {
    let registry = Registry::start().unwrap();
    let push = |name: &&str| registry.push(&saying(base, name), &format!("recover/{name}:1")).unwrap();
    let pushed = names.iter().map(push).collect();
    (registry, pushed)
}

/// A disk with one image, which prints `a`, and the image's name.
fn disk_of_one() -> (BakedDisk, String) {
    let (_registry, images) = registry_of(&base(), &["a"]);
    let a = images[0].to_string();
    (BakedDisk::of(&[&a]).unwrap(), a)
}

fn names(containerd: &Containerd) -> Result<Vec<String>> {
    Ok(containerd.ctr(&["images", "ls", "-q"])?.lines().map(str::to_owned).collect())
}

fn expect_failed(ran: &Ran, words: &[&str]) -> Result<()> {
    ensure!(ran.status == Some(1), "{ran:?}");
    words.iter().try_for_each(|word| {
        ensure!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
        Ok(())
    })
}

fn expect_unchanged(containerd: &Containerd, state: &State, before: &[String]) -> Result<()> {
    ensure!(names(containerd)? == before && links(containerd).is_empty(), "nothing has changed");
    ensure!(state.places().is_empty() && state.records().is_empty(), "nothing was mounted");
    Ok(())
}

/// The fault: CRI calls the image present, and it cannot start.
fn expect_broken(containerd: &Containerd, name: &str) -> Result<()> {
    ensure!(containerd.image_status(name)?.is_some(), "{name} is not even called present");
    ensure!(containerd.run(name, &[]).is_err(), "{name} runs");
    Ok(())
}

#[test]
fn a_disk_that_comes_back_is_mounted_again_by_its_file_system_wherever_it_is() {
    let (disk, a) = disk_of_one();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        attach(containerd, &device)?.done()?;
        state.unmount();
        expect_broken(containerd, &a)?;
        // Before containerd starts there is none to ask.
        let arguments = node_arguments(containerd);
        let mut mount = command()?;
        mount.args(["attach", "--restore", "--mount-only", "--containerd", "/nowhere"]).args(&arguments[2..]);
        finished(&mut mount)?.done()?;
        expect_run(containerd, &a, "a")?;
        // A mount that no longer reads as the disk.
        run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&state.places()[0]))?;
        expect_broken(containerd, &a)?;
        node(containerd, &["attach", "--restore"])?.done()?;
        expect_run(containerd, &a, "a")?;
        state.unmount();
        // Under another name, with the old one gone.
        let other = disk.device()?;
        drop(device);
        ensure!(
            node(containerd, &["attach", "--restore"])?.done()? == format!("{a}: already attached\n"),
            "again"
        );
        expect_run(containerd, &a, "a")?;
        drop(other);
        containerd.sync_gc()?;
        ensure!(dangling(containerd).is_empty(), "nothing dangles");
        node(containerd, &["detach"])?.done()?;
        ensure!(state.places().is_empty() && state.records().is_empty(), "nothing is left");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_disk_that_is_away_is_withdrawn_and_what_others_built_on_it_is_named_and_goes_only_by_force() {
    let base = base();
    let (registry, images) = registry_of(&base, &["a", "b", "c"]);
    let [a, b, c] = &images[..] else { panic!("three images") };
    let disk = BakedDisk::of(&[&a.to_string()]).unwrap();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        attach(containerd, &device)?.done()?;
        containerd.pull(b)?;
        containerd.pull(c)?;
        let ended = containerd.start_container(&c.to_string(), &["/bin/busybox", "true"])?;
        until("the container's end", ENDS, || {
            ended.is_running().and_then(|runs| {
                let _: () = ensure!(!runs);
                Ok(())
            })
        })?;
        // The disk's device goes, and whatever would find its file system finds none: the other nodes' copies are not ours.
        hide(&state)?;
        state.unmount();
        drop(device);
        expect_broken(containerd, &b.to_string())?;
        containerd.pull(b).context("the pull succeeds")?;
        expect_broken(containerd, &b.to_string())?;

        let restored = node(containerd, &["attach", "--restore"])?;
        expect_failed(&restored, &[&b.to_string(), &c.to_string(), ended.id(), "--force-heal", "is away"])?;
        ensure!(containerd.image_status(&a.to_string())?.is_none(), "ours is not called present any more");
        let left = names(containerd)?;
        ensure!(!left.iter().any(|name| name.contains("recover/a")), "{left:?}");
        ensure!(left.contains(&b.to_string()) && left.contains(&c.to_string()), "others' stay: {left:?}");
        let again = node(containerd, &["attach", "--restore"])?;
        expect_failed(&again, &[&b.to_string(), &c.to_string()])?;

        let forced = node(containerd, &["attach", "--restore", "--force-heal"])?;
        expect_failed(&forced, &["is away"])?;
        ensure!(links(containerd).is_empty(), "nothing is left of the disk: {forced:?}");
        let left = names(containerd)?;
        ensure!(!left.iter().any(|name| name.contains("recover/")), "{left:?}");
        containerd.pull(b)?;
        expect_run(containerd, &b.to_string(), "b")?;
        // And the disk comes back, and finds its images on what was pulled.
        let device = disk.device()?;
        attach(containerd, &device)?.done()?;
        expect_run(containerd, &a.to_string(), "a")?;
        drop(ended);
        Ok(())
    })
    .unwrap();
    drop(registry);
}

/// Makes the disks of this node be none that any device has.
fn hide(state: &State) -> Result<()> {
    for record in state.records() {
        let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record)?)?;
        text["uuid"] = "00".repeat(16).into();
        text["device"] = "/dev/larder-test-gone".into();
        fs::write(&record, text.to_string())?;
    }
    Ok(())
}

#[test]
fn a_new_generation_takes_over_under_running_containers_and_the_old_disk_is_released_with_the_last() {
    let base = base();
    let (registry, images) = registry_of(&base, &["a", "b"]);
    let (a, b) = (images[0].to_string(), images[1].to_string());
    let old = BakedDisk::of(&[&a, &b]).unwrap();
    registry.push(&saying(&base, "new"), "recover/a:1").unwrap();
    let new = BakedDisk::of(&[&a, &b]).unwrap();
    on_each(|containerd| {
        let state = State::of(containerd);
        let (old, new) = (old.device()?, new.device()?);
        attach(containerd, &old)?.done()?;
        let running = containerd.start_container(&a, &["/bin/busybox", "sleep", "600"])?;
        let shared = containerd.start_container(&b, &["/bin/busybox", "sleep", "600"])?;
        let before = links(containerd);
        let ran = attach(containerd, &new)?;
        ensure!(ran.status == Some(0) && ran.stderr.contains("led to their latest disk"), "{ran:?}");
        expect_run(containerd, &a, "new")?;
        expect_run(containerd, &b, "b")?;
        // The base and b, which both disks have; what the old a has alone is held by its container.
        let still = links(containerd).iter().filter(|link| before.contains(link)).count();
        ensure!(still == 1, "{still} links still lead to the old disk: {:?}", links(containerd));
        for (container, text) in [(&running, "a"), (&shared, "b")] {
            ensure!(
                container.exec(&["/bin/busybox", "cat", "/own"])?.stdout == text,
                "the container goes on"
            );
        }
        ensure!(state.places().len() == 2, "both disks are there");
        drop(running);
        let ran = attach(containerd, &new)?;
        ensure!(
            ran.status == Some(0) && ran.stderr.contains("still read"),
            "b's container reads it: {ran:?}"
        );
        ensure!(shared.exec(&["/bin/busybox", "cat", "/own"])?.stdout == "b", "the container goes on");
        ensure!(state.places().len() == 1 && state.records().len() == 2, "unmounted, not forgotten");
        drop(shared);
        until("the old disk's release", ENDS, || {
            let ran = attach(containerd, &new)?;
            ensure!(ran.status == Some(0) && ran.stderr.contains(": released"), "{ran:?}");
            Ok(())
        })?;
        ensure!(state.records().len() == 1, "forgotten");
        drop(old);
        containerd.sync_gc()?;
        ensure!(dangling(containerd).is_empty(), "nothing dangles");
        expect_run(containerd, &a, "new")?;
        node(containerd, &["detach"])?.done()?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn several_disks_serve_at_once_and_each_can_go() {
    let base = base();
    let (_registry, images) = registry_of(&base, &["a", "b"]);
    let (a, b) = (images[0].to_string(), images[1].to_string());
    let (one, two) = (BakedDisk::of(&[&a]).unwrap(), BakedDisk::of(&[&b]).unwrap());
    on_each(|containerd| {
        let state = State::of(containerd);
        let (one, two) = (one.device()?, two.device()?);
        let disks = [one.path().to_string_lossy(), two.path().to_string_lossy()];
        node(containerd, &["attach", "--disk", &disks[0], "--disk", &disks[1]])?.done()?;
        // The base, which both have, is on the second.
        ensure!(links(containerd).len() == 3 && state.places().len() == 2, "{:?}", links(containerd));
        expect_run(containerd, &a, "a")?;
        expect_run(containerd, &b, "b")?;
        node(containerd, &["detach", "--disk", &disks[1]])?.done()?;
        ensure!(
            state.places().len() == 1,
            "the second disk has gone, though the first one's image needs the base"
        );
        drop(two);
        containerd.sync_gc()?;
        ensure!(dangling(containerd).is_empty(), "nothing dangles");
        expect_run(containerd, &a, "a")
    })
    .unwrap();
}

fn trees(links: &[(PathBuf, PathBuf)]) -> Result<BTreeMap<PathBuf, Tree>> {
    links.iter().map(|(link, target)| Ok((link.clone(), tree::read(target)?))).collect()
}

#[test]
fn a_shared_layer_is_copied_whole_so_that_its_disk_can_go() {
    let registry = Registry::start().unwrap();
    let below = torture().unwrap();
    let own = LayerBuilder::default().entry(Entry::file("own", "above")).build(Compression::Gzip).unwrap();
    let above = ImageBuilder::default().layers(below.layers.iter().chain([&own]));
    let above = above.cmd(&["/bin/busybox", "cat", "/own"]).build();
    let below = registry.push(&below, "recover/below:1").unwrap().to_string();
    let above = registry.push(&above, "recover/above:1").unwrap();
    let disk = BakedDisk::of(&[&below]).unwrap();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        attach(containerd, &device)?.done()?;
        containerd.pull(&above)?;
        expect_failed(&node(containerd, &["detach"])?, &[&above.to_string()])?;
        let linked = links(containerd);
        let before = trees(&linked)?;
        let ran = node(containerd, &["detach", "--keep-shared", "--dry-run"])?;
        ensure!(ran.stdout.contains("would be detached") && links(containerd) == linked, "{ran:?}");
        node(containerd, &["detach", "--keep-shared"])?.done()?;
        ensure!(links(containerd).is_empty() && state.places().is_empty(), "nothing is left of the disk");
        for (link, before) in before {
            let differences = tree::diff(&before, &tree::read(&link)?, |_| false);
            ensure!(differences.is_empty(), "{}: {differences:#?}", link.display());
        }
        drop(device);
        containerd.sync_gc()?;
        expect_run(containerd, &above.to_string(), "above")
    })
    .unwrap();
}

#[test]
fn a_preview_changes_nothing_and_pins_come_and_go() {
    let (disk, a) = disk_of_one();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        let path = device.path().to_string_lossy().into_owned();
        let before = names(containerd)?;
        let ran = node(containerd, &["attach", "--dry-run", "--disk", &path])?;
        ensure!(
            ran.stdout == format!("{a}: would be attached, 2 layers linked, 0 already there\n"),
            "{ran:?}"
        );
        expect_unchanged(containerd, &state, &before)?;
        let pinned = |containerd: &Containerd| -> Result<bool> {
            let list = containerd.ctr(&["images", "ls", &format!("name=={a}")])?;
            Ok(list.contains("io.cri-containerd.pinned=pinned"))
        };
        node(containerd, &["attach", "--no-pin", "--disk", &path])?.done()?;
        ensure!(!pinned(containerd)?, "not pinned");
        node(containerd, &["attach", "--disk", &path])?.done()?;
        ensure!(pinned(containerd)?, "pinned");
        node(containerd, &["attach", "--pin=false", "--disk", &path])?.done()?;
        ensure!(!pinned(containerd)?, "not pinned any more");
        let ran = node(containerd, &["detach", "--dry-run"])?;
        ensure!(ran.stdout == format!("{a}: would be detached, 2 layers\n"), "{ran:?}");
        expect_run(containerd, &a, "a")
    })
    .unwrap();
}

#[test]
fn a_corrupt_a_foreign_and_a_half_written_disk_are_refused_and_nothing_is_changed() {
    let (disk, _) = disk_of_one();
    let bytes = fs::read(disk.file()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        LoopDevice::attach(&path, Access::ReadOnly).unwrap()
    };
    let mut half = bytes.clone();
    half[..4096].fill(0);
    let mut corrupt = bytes.clone();
    let marker = br#""schemaVersion""#;
    let places: Vec<_> =
        (0..corrupt.len() - marker.len()).filter(|&at| corrupt[at..].starts_with(marker)).collect();
    assert!(!places.is_empty());
    for at in places {
        corrupt[at + 1] = b'S';
    }
    let foreign = directory.path().join("foreign");
    fs::write(&foreign, vec![0; 8 << 20]).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&foreign)).unwrap();
    let devices = [
        written("half", &half),
        written("corrupt", &corrupt),
        LoopDevice::attach(&foreign, Access::ReadOnly).unwrap(),
        written("empty", &vec![0; 1 << 20]),
    ];
    on_each(|containerd| {
        let state = State::of(containerd);
        let before = names(containerd)?;
        for device in &devices {
            let ran = attach(containerd, device)?;
            expect_failed(
                &ran,
                &["is not a cache disk that can be attached", &device.path().to_string_lossy()],
            )?;
        }
        expect_unchanged(containerd, &state, &before)
    })
    .unwrap();
}

#[test]
fn a_pod_puts_its_disk_into_the_hosts_mount_namespace_where_it_outlives_the_pod() {
    let (disk, a) = disk_of_one();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        let volume = tempfile::tempdir()?;
        // The pod: a mount namespace of its own, in which alone the disk is mounted.
        let script = r#"mount -o ro "$1" "$2" && shift && volume="$1" && shift && exec "$@""#;
        let mut pod = Command::new("unshare");
        pod.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        pod.args([device.path(), volume.path(), &larder_tests::larder::binary()?]);
        pod.args(["attach", "--disk"]).arg(volume.path());
        pod.arg(format!("--mount-namespace=/proc/{}/ns/mnt", std::process::id()));
        finished(pod.args(node_arguments(containerd)))?.done()?;
        ensure!(fs::read_dir(volume.path())?.count() == 0, "the pod's mount was its own");
        ensure!(state.places().len() == 1, "the disk is at its place");
        expect_run(containerd, &a, "a")?;
        ensure!(fs::write(state.places()[0].join("x"), "").is_err(), "read-only");
        state.unmount();
        ensure!(node(containerd, &["attach", "--restore"])?.status == Some(0), "found by its file system");
        expect_run(containerd, &a, "a")?;
        node(containerd, &["detach"])?.done()?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_directory_is_attached_and_found_again_by_the_device_below_it() {
    let (disk, a) = disk_of_one();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        let volume = Mount::ext4(device.path(), Access::ReadOnly)?;
        node(containerd, &["attach", "--disk", &volume.path().to_string_lossy()])?.done()?;
        drop(volume);
        expect_run(containerd, &a, "a")?;
        state.unmount();
        expect_broken(containerd, &a)?;
        node(containerd, &["attach", "--restore"])?.done()?;
        expect_run(containerd, &a, "a")
    })
    .unwrap();
}

#[test]
fn a_place_without_a_record_where_another_disk_is_mounted_is_told() {
    let (disk, a) = disk_of_one();
    on_each(|containerd| {
        let state = State::of(containerd);
        let device = disk.device()?;
        attach(containerd, &device)?.done()?;
        let place = state.places().pop().context("a disk has a place")?;
        let stranger = place.with_file_name("0".repeat(64));
        fs::create_dir(&stranger)?;
        run(Command::new("mount").arg("--bind").args([&place, &stranger]))?;
        let ran = node(containerd, &["attach", "--restore"])?;
        expect_failed(&ran, &[&"0".repeat(64), "has another disk mounted"])?;
        expect_run(containerd, &a, "a")
    })
    .unwrap();
}
