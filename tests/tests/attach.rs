//! `larder attach` and `larder detach` on every containerd, with a real runc and a real registry behind it.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use larder_core::Digest;
use larder_tests::containerd::{Containerd, Finished, on_each};
use larder_tests::image::{
    Compression, Entry, Image, ImageBuilder, LayerBuilder, MultiImage, busybox, deep, torture,
};
use larder_tests::larder::{Ran, larder, node_arguments};
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::registry::Registry;
use tempfile::TempDir;

/// A baked disk, and the registry that its images came from.
struct Baked {
    registry: Registry,
    directory: TempDir,
}

impl Baked {
    fn new(registry: Registry, images: &[String]) -> Self {
        let baked = Self { registry, directory: tempfile::tempdir().unwrap() };
        let disk = baked.disk();
        let arguments = ["build", "--quiet", "--plain-http", "-o", disk.to_str().unwrap()];
        larder(arguments.into_iter().chain(images.iter().map(String::as_str))).unwrap().done().unwrap();
        baked
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    /// The disk as a read-only block device, as a node has it.
    fn device(&self) -> LoopDevice {
        LoopDevice::attach(&self.disk(), Access::ReadOnly).unwrap()
    }

    /// Blobs that the registry has sent since it had answered `since` requests.
    fn sent(&self, since: usize) -> BTreeSet<Digest> {
        self.registry.blob_gets(since).unwrap().into_iter().collect()
    }

    fn requests(&self) -> usize {
        self.registry.requests().unwrap().len()
    }
}

/// A node whose disk is taken away again at the end, also when a test fails.
struct Attached<'a> {
    containerd: &'a Containerd,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let disks = self.containerd.root().with_file_name("larder").join("disks");
        for disk in fs::read_dir(disks).into_iter().flatten().flatten() {
            let _ = rustix::mount::unmount(disk.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn node(containerd: &Containerd, command: &[&str]) -> Ran {
    larder(command.iter().map(|&word| word.to_owned()).chain(node_arguments(containerd))).unwrap()
}

fn attach(containerd: &Containerd, disk: &Path, images: &[&str]) -> Result<String> {
    let command = ["attach", "--disk", disk.to_str().unwrap()];
    node(containerd, &[&command[..], images].concat()).done()
}

fn printed(stdout: &str) -> Finished {
    Finished { exit_code: 0, stdout: stdout.to_owned(), stderr: String::new() }
}

fn expect_run(containerd: &Containerd, name: &str, stdout: &str) -> Result<()> {
    let ran = containerd.run(name, &[])?;
    ensure!(ran == printed(stdout), "{name}: {ran:?}");
    Ok(())
}

/// Snapshots whose content is a link.
fn links(containerd: &Containerd) -> usize {
    let snapshots = containerd.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    let entries = fs::read_dir(snapshots).unwrap().map(|entry| entry.unwrap().path().join("fs"));
    entries.filter(|path| path.is_symlink()).count()
}

#[test]
fn attached_images_run_and_live_through_restart_and_collection_and_nothing_is_pulled() {
    let registry = Registry::start().unwrap();
    let image = torture().unwrap();
    let name = registry.push(&image, "attach/torture:1").unwrap().to_string();
    let baked = Baked::new(registry, std::slice::from_ref(&name));
    let device = baked.device();
    let before = baked.requests();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        let said = attach(containerd, device.path(), &[])?;
        ensure!(said.contains(&format!("{name}: attached, {} layers linked", image.layers.len())), "{said}");
        expect_run(containerd, &name, "survived\n")?;
        let again = attach(containerd, device.path(), &[])?;
        ensure!(again == format!("{name}: already attached\n"), "{again}");
        Ok(())
    })
    .unwrap();
    assert_eq!(baked.requests(), before, "no node asked the registry for anything");
    on_each(|containerd| {
        attach(containerd, device.path(), &[])?;
        let lasting = containerd.start_container(&name, &["sleep", "600"])?;
        containerd.restart()?;
        containerd.sync_gc()?;
        let _attached = Attached { containerd };
        ensure!(lasting.is_running()?, "the container goes on");
        expect_run(containerd, &name, "survived\n")
    })
    .unwrap();
    assert_eq!(baked.requests(), before, "no node asked the registry for anything");
}

#[test]
fn a_pull_of_the_same_image_or_of_one_on_its_base_fetches_no_attached_layer() {
    let registry = Registry::start().unwrap();
    let base = busybox().unwrap().build(Compression::Zstd).unwrap();
    let layer = |name: &str| {
        LayerBuilder::default().entry(Entry::file(name, "x\n")).build(Compression::Gzip).unwrap()
    };
    let (own, middle) = (layer("own"), layer("middle"));
    let image =
        ImageBuilder::default().layers([&base, &middle]).cmd(&["/bin/busybox", "cat", "/middle"]).build();
    let above =
        ImageBuilder::default().layers([&base, &middle, &own]).cmd(&["/bin/busybox", "cat", "/own"]).build();
    let name = registry.push(&image, "attach/pulled:1").unwrap();
    let above_name = registry.push(&above, "attach/above:1").unwrap();
    let baked = Baked::new(registry, &[name.to_string()]);
    let device = baked.device();
    let attached_layers: BTreeSet<Digest> = [base.digest, middle.digest].into();
    assert!(baked.sent(0).is_superset(&attached_layers), "the bake fetched them, so the log can tell");
    let since = baked.requests();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        attach(containerd, device.path(), &[])?;
        containerd.pull(&name)?;
        containerd.pull(&above_name)?;
        expect_run(containerd, &name.to_string(), "x\n")?;
        expect_run(containerd, &above_name.to_string(), "x\n")
    })
    .unwrap();
    let sent = baked.sent(since);
    assert!(sent.is_disjoint(&attached_layers), "{sent:?}");
    assert!(sent.contains(&own.digest), "only what the disk has not");
}

#[test]
fn an_image_is_found_by_tag_index_digest_and_manifest_digest() {
    let registry = Registry::start().unwrap();
    let here = ImageBuilder::default().layer(&busybox().unwrap().build(Compression::Gzip).unwrap());
    let here = here.cmd(&["/bin/busybox", "echo", "here"]).build();
    let other = ImageBuilder::default().platform("linux/s390x".parse().unwrap());
    let other = other
        .layer(&LayerBuilder::default().entry(Entry::file("x", "")).build(Compression::None).unwrap())
        .build();
    let multi = MultiImage::of(vec![other, here.clone()]);
    let by_tag = registry.push_multi(&multi, "attach/multi:1").unwrap();
    let baked = Baked::new(registry, &[by_tag.to_string()]);
    let mounted = Mount::image(&baked.disk()).unwrap();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        // A directory this time.
        attach(containerd, mounted.path(), &[])?;
        for digest in [multi.index.descriptor.digest, here.digest()] {
            expect_run(containerd, &by_tag.at(digest).to_string(), "here\n")?;
        }
        expect_run(containerd, &by_tag.to_string(), "here\n")
    })
    .unwrap();
}

#[test]
fn an_image_of_120_attached_layers_runs() {
    let registry = Registry::start().unwrap();
    let name = registry.push(&deep(120).unwrap(), "attach/deep:1").unwrap().to_string();
    let baked = Baked::new(registry, std::slice::from_ref(&name));
    let device = baked.device();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        attach(containerd, device.path(), &[])?;
        ensure!(links(containerd) == 120, "{} links", links(containerd));
        expect_run(containerd, &name, "119\n")
    })
    .unwrap();
}

#[test]
fn detach_leaves_what_is_in_use_and_takes_the_rest() {
    let registry = Registry::start().unwrap();
    let base = busybox().unwrap().build(Compression::Gzip).unwrap();
    let image = |text: &str| {
        let own = LayerBuilder::default().entry(Entry::file("own", text)).build(Compression::Gzip).unwrap();
        ImageBuilder::default().layers([&base, &own]).cmd(&["/bin/busybox", "cat", "/own"]).build()
    };
    let [used, idle] = ["used", "idle"].map(|text| {
        let image: Image = image(text);
        registry.push(&image, &format!("attach/{text}:1")).unwrap().to_string()
    });
    let baked = Baked::new(registry, &[used.clone(), idle.clone()]);
    let device = baked.device();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        attach(containerd, device.path(), &[])?;
        let container = containerd.start_container(&used, &["/bin/busybox", "sleep", "600"])?;
        let refused = node(containerd, &["detach"]);
        ensure!(refused.status == Some(1), "{refused:?}");
        ensure!(refused.stderr.contains(&format!("image {used}: ")), "{refused:?}");
        ensure!(refused.stderr.contains(container.id()), "the error names the container: {refused:?}");
        ensure!(refused.stdout == format!("{idle}: detached, 1 layer\n"), "{refused:?}");
        ensure!(container.exec(&["/bin/busybox", "cat", "/own"])? == printed("used"), "it still works");
        ensure!(containerd.image_status(&idle)?.is_none(), "the idle one is gone");
        drop(container);
        node(containerd, &["detach"]).done()?;
        ensure!(containerd.image_status(&used)?.is_none() && links(containerd) == 0, "all is gone");
        let disks = containerd.root().with_file_name("larder").join("disks");
        ensure!(fs::read_dir(disks)?.count() == 0, "the disk is unmounted");
        node(containerd, &["detach"]).done()?;
        // And it can come back.
        attach(containerd, device.path(), &[&idle])?;
        expect_run(containerd, &idle, "idle")
    })
    .unwrap();
}

#[test]
fn a_pulled_image_on_an_attached_base_keeps_the_disk() {
    let registry = Registry::start().unwrap();
    let base = busybox().unwrap().build(Compression::Gzip).unwrap();
    let own = LayerBuilder::default().entry(Entry::file("own", "above")).build(Compression::Gzip).unwrap();
    let below = ImageBuilder::default().layer(&base).cmd(&["/bin/busybox", "true"]).build();
    let above = ImageBuilder::default().layers([&base, &own]).cmd(&["/bin/busybox", "cat", "/own"]).build();
    let below = registry.push(&below, "attach/below:1").unwrap().to_string();
    let above = registry.push(&above, "attach/foreign:1").unwrap();
    let baked = Baked::new(registry, std::slice::from_ref(&below));
    let device = baked.device();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        attach(containerd, device.path(), &[])?;
        containerd.pull(&above)?;
        let refused = node(containerd, &["detach"]);
        ensure!(refused.status == Some(1) && refused.stderr.contains(&above.to_string()), "{refused:?}");
        expect_run(containerd, &above.to_string(), "above")
    })
    .unwrap();
}

#[test]
fn what_attach_does_not_know_is_refused_and_nothing_is_changed() {
    let registry = Registry::start().unwrap();
    let other = ImageBuilder::default().platform("linux/s390x".parse().unwrap());
    let other =
        other.layer(&LayerBuilder::default().entry(Entry::file("x", "")).build(Compression::None).unwrap());
    let name = registry.push(&other.build(), "attach/s390x:1").unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    let build = [
        "build",
        "--quiet",
        "--plain-http",
        "--platform",
        "linux/s390x",
        &name,
        "-o",
        disk.to_str().unwrap(),
    ];
    larder(build).unwrap().done().unwrap();
    let device = LoopDevice::attach(&disk, Access::ReadOnly).unwrap();
    let device = device.path().to_str().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    on_each(|containerd| {
        let images = containerd.ctr(&["images", "ls", "-q"])?;
        let refusals: [(&[&str], &str); 5] = [
            (&["attach", "--disk", device], "linux/s390x"),
            (&["attach", "--disk", device, "redis:7"], "docker.io/library/redis:7"),
            (&["attach", "--disk", disk.to_str().unwrap()], "losetup"),
            (&["attach", "--disk", empty], "index.json"),
            (&["attach", "--disk", device, "--root", empty], empty),
        ];
        for (arguments, reason) in refusals {
            let ran = node(containerd, arguments);
            ensure!(ran.status == Some(1) && ran.stderr.contains(reason), "{arguments:?}: {ran:?}");
        }
        ensure!(containerd.ctr(&["images", "ls", "-q"])? == images, "no image came or went");
        let disks = containerd.root().with_file_name("larder").join("disks");
        let mounted = fs::read_dir(&disks).map_or(0, Iterator::count);
        ensure!(mounted == 0, "no mount is left");
        links(containerd).eq(&0).then_some(()).context("no layer is linked")
    })
    .unwrap();
}

#[test]
fn a_name_that_the_node_has_with_other_content_is_left_alone() {
    let registry = Registry::start().unwrap();
    let image = |text: &str| {
        let image = ImageBuilder::default().layer(&busybox().unwrap().build(Compression::Gzip).unwrap());
        image.cmd(&["/bin/busybox", "echo", text]).build()
    };
    let name = registry.push(&image("baked"), "attach/name:1").unwrap();
    let baked = Baked::new(registry, &[name.to_string()]);
    let device = baked.device();
    let theirs = image("theirs");
    baked.registry.push(&theirs, "attach/name:1").unwrap();
    on_each(|containerd| {
        let _attached = Attached { containerd };
        containerd.pull(&name)?;
        let ran = node(containerd, &["attach", "--disk", device.path().to_str().unwrap()]);
        ensure!(ran.status == Some(1) && ran.stderr.contains(&theirs.digest().to_string()), "{ran:?}");
        expect_run(containerd, &name.to_string(), "theirs\n")
    })
    .unwrap();
}
