//! `larder status --node` and `larder hydrate` on every containerd: what is warm, what is not and why, and what each fault looks like.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use larder_tests::containerd::{Containerd, Version, on_each};
use larder_tests::image::{Compression, Entry, ImageBuilder, LayerBuilder, busybox};
use larder_tests::larder::{larder, node_arguments};
use larder_tests::loopdev::LoopDevice;
use larder_tests::node::{BakedDisk, State, attach, links, node};
use larder_tests::registry::Registry;
use serde_json::Value;

/// A disk with two images on one base, and the registry that they came from.
struct Baked {
    registry: Registry,
    disk: BakedDisk,
    one: String,
    two: String,
}

impl Baked {
    fn new() -> Self {
        let registry = Registry::start().unwrap();
        let base = busybox().unwrap().build(Compression::Gzip).unwrap();
        let [one, two] = ["one", "two"].map(|text| {
            // A runtime makes what it has to mount on and is not there; in a pod with mapped users it may not.
            let mount_points =
                ["etc/hostname", "etc/hosts", "etc/resolv.conf"].map(|path| Entry::file(path, ""));
            let own = LayerBuilder::default().entry(Entry::file("own", text)).entries(mount_points);
            let own = own.build(Compression::Gzip).unwrap();
            let image = ImageBuilder::default().layers([&base, &own]).cmd(&["/bin/busybox", "cat", "/own"]);
            registry.push(&image.build(), &format!("status/{text}:1")).unwrap().to_string()
        });
        let disk = BakedDisk::of(&[&one, &two]).unwrap();
        Self { registry, disk, one, two }
    }

    fn device(&self) -> LoopDevice {
        self.disk.device().unwrap()
    }
}

/// Where the node's only disk is mounted.
fn place(state: &State) -> Result<PathBuf> {
    state.places().pop().context("a disk has a place")
}

/// The status as a program reads it, and whether the exit status says that all is warm.
fn status(containerd: &Containerd) -> Result<(Value, bool)> {
    let ran = node(containerd, &["status", "--node", "-o", "json"])?;
    let warm = match ran.status {
        Some(0) => true,
        Some(1) => false,
        _ => anyhow::bail!("{ran:?}"),
    };
    Ok((serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?, warm))
}

fn find<'a>(status: &'a Value, image: &str) -> Result<&'a Value> {
    let images = status["images"].as_array().context("images")?;
    images.iter().find(|found| found["name"] == image).with_context(|| format!("{image}: {status}"))
}

fn origin<'a>(status: &'a Value, image: &str) -> Result<&'a str> {
    find(status, image)?["origin"].as_str().context("origin")
}

/// Why an image is not warm, as the status names it.
fn reasons(status: &Value, image: &str) -> Result<Vec<String>> {
    let found = find(status, image)?;
    let reasons = found["reasons"].as_array().context("reasons")?;
    Ok(reasons.iter().map(|reason| reason["reason"].as_str().unwrap_or_default().to_owned()).collect())
}

fn expect_cold(containerd: &Containerd, image: &str, reason: &[&str]) -> Result<()> {
    let (status, warm) = status(containerd)?;
    let found = reasons(&status, image)?;
    ensure!(!warm && found == reason, "{image}: {found:?}, not {reason:?}: {status:#}");
    Ok(())
}

fn expect_warm(containerd: &Containerd, image: &str) -> Result<()> {
    let (status, _) = status(containerd)?;
    let found = reasons(&status, image)?;
    ensure!(found.is_empty(), "{image}: {found:?}: {status:#}");
    Ok(())
}

#[test]
fn attached_images_are_warm_and_the_limit_is_told_by_version() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let nothing = node(containerd, &["status", "--node"])?.done()?;
        ensure!(nothing.starts_with("nothing is attached"), "{nothing}");
        let state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        let (status, warm) = status(containerd)?;
        ensure!(warm, "{status:#}");
        for image in [&baked.one, &baked.two] {
            ensure!(reasons(&status, image)?.is_empty(), "{status:#}");
        }
        let image = &status["images"][0];
        ensure!(image["layers"] == 2 && image["linked"] == 2 && image["pinned"] == true, "{image:#}");
        ensure!(status["disks"][0]["place"] == place(&state)?.to_str().unwrap(), "{status:#}");
        let limited = containerd.version().starts_with("2.1.");
        ensure!(status["limits"].as_array().map(Vec::is_empty) == Some(!limited), "{status:#}");
        let said = attach(containerd, &device)?;
        ensure!(said.stderr.contains("hostUsers: false") == limited, "{said:?}");
        let table = node(containerd, &["status", "--node"])?.done()?;
        ensure!(table.contains("WARM") && table.contains(&baked.one), "{table}");
        let yaml = node(containerd, &["status", "--node", "-o", "yaml"])?.done()?;
        ensure!(yaml.contains("images:") && yaml.contains(&baked.one), "{yaml}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_disk_that_was_unmounted_is_named_while_cri_still_lists_its_images() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        state.unmount();
        ensure!(containerd.image_status(&baked.one)?.is_some(), "the kubelet would be told that it is there");
        ensure!(containerd.run(&baked.one, &[]).is_err(), "and could not start it");
        for image in [&baked.one, &baked.two] {
            expect_cold(containerd, image, &["diskAway"])?;
        }
        let (status, _) = status(containerd)?;
        ensure!(status["disks"][0]["fault"]["kind"] == "notMounted", "{status:#}");
        // And when it is back all is well.
        attach(containerd, &device)?.done()?;
        expect_warm(containerd, &baked.one)?;
        let said = containerd.run(&baked.one, &[])?;
        ensure!(said.stdout == "one", "{said:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pulled_image_on_an_attached_layer_is_judged_too() {
    let baked = Baked::new();
    let device = baked.device();
    let base = busybox().unwrap().build(Compression::Gzip).unwrap();
    let own = LayerBuilder::default().entry(Entry::file("above", "x")).build(Compression::Gzip).unwrap();
    let above = ImageBuilder::default().layers([&base, &own]).build();
    let above = baked.registry.push(&above, "status/above:1").unwrap();
    on_each(|containerd| {
        let state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        containerd.pull(&above)?;
        let (seen, warm) = status(containerd)?;
        ensure!(warm, "{seen:#}");
        let named =
            |name: &str| seen["images"].as_array().unwrap().iter().filter(|i| i["name"] == name).count();
        let all = [&baked.one, &baked.two, &above.to_string()];
        ensure!(all.into_iter().all(|name| named(name) == 1), "each image once: {seen:#}");
        ensure!(origin(&seen, &above.to_string())? == "others", "{seen:#}");
        state.unmount();
        expect_cold(containerd, &above.to_string(), &["diskAway"])
    })
    .unwrap();
}

#[test]
fn a_link_that_was_removed_or_leads_nowhere_is_found() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let _state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        let (link, target) = links(containerd).into_iter().next().context("a link")?;
        fs::remove_file(&link)?;
        let (missing, warm) = status(containerd)?;
        let cold: Vec<_> = [&baked.one, &baked.two]
            .into_iter()
            .filter(|image| reasons(&missing, image).is_ok_and(|reasons| reasons == ["linksMissing"]))
            .collect();
        ensure!(!warm && !cold.is_empty(), "{missing:#}");
        std::os::unix::fs::symlink(target.with_file_name("gone"), &link)?;
        let (dangling, warm) = status(containerd)?;
        ensure!(
            !warm && reasons(&dangling, cold[0])? == ["linksMissing"],
            "a link to elsewhere is not the layer's: {dangling:#}"
        );
        fs::remove_file(&link)?;
        std::os::unix::fs::symlink(&target, &link)?;
        expect_warm(containerd, cold[0])
    })
    .unwrap();
}

#[test]
fn a_removed_record_image_and_blob_are_told_apart() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        containerd.ctr(&["images", "rm", &baked.one])?;
        expect_cold(containerd, &baked.one, &["noRecord"])?;
        expect_warm(containerd, &baked.two)?;
        // The kubelet removes every name of an image.
        containerd.remove_image(&baked.two)?;
        expect_cold(containerd, &baked.two, &["noRecord"])?;
        attach(containerd, &device)?.done()?;
        expect_warm(containerd, &baked.one)?;
        expect_warm(containerd, &baked.two)?;
        let manifest = fs::read(place(&state)?.join("index.json"))?;
        let index: Value = serde_json::from_slice(&manifest)?;
        let digest = index["manifests"][0]["digest"].as_str().context("a digest")?.to_owned();
        containerd.ctr(&["content", "rm", &digest])?;
        let (status, warm) = status(containerd)?;
        let broken = reasons(&status, &baked.one)?.into_iter().chain(reasons(&status, &baked.two)?);
        ensure!(!warm && broken.into_iter().any(|reason| reason == "blobsMissing"), "{status:#}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_name_that_leads_elsewhere_is_not_warm() {
    let baked = Baked::new();
    let device = baked.device();
    let theirs = ImageBuilder::default().layer(&busybox().unwrap().build(Compression::Gzip).unwrap()).build();
    baked.registry.push(&theirs, "status/one:1").unwrap();
    on_each(|containerd| {
        let _state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        containerd.pull(&baked.one.parse()?)?;
        expect_cold(containerd, &baked.one, &["otherContent"])?;
        expect_warm(containerd, &baked.two)
    })
    .unwrap();
}

#[test]
fn an_image_that_is_not_wanted_from_a_disk_is_not_missed() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let _state = State::of(containerd);
        node(containerd, &["attach", "--disk", &device.path().to_string_lossy(), &baked.two])?.done()?;
        let (status, warm) = status(containerd)?;
        ensure!(warm && reasons(&status, &baked.two)?.is_empty(), "{status:#}");
        ensure!(find(&status, &baked.one).is_err(), "nobody wants it: {status:#}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_recorded_disk_without_a_place_is_named() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        let (before, _) = status(containerd)?;
        let lost = place(&state)?;
        state.unmount();
        fs::remove_dir(&lost)?;
        expect_cold(containerd, &baked.one, &["diskAway"])?;
        let (status, _) = status(containerd)?;
        let disk = &status["disks"][0];
        ensure!(
            disk["disk"] == before["disks"][0]["disk"] && disk["fault"]["kind"] == "notMounted",
            "{status:#}"
        );
        let table = node(containerd, &["status", "--node"])?;
        ensure!(table.status == Some(1) && table.stdout.contains("not mounted"), "{table:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_disk_that_only_running_containers_still_read_is_not_missed() {
    let baked = Baked::new();
    let older = BakedDisk::of(&[&baked.one]).unwrap();
    on_each(|containerd| {
        let _state = State::of(containerd);
        let (old, new) = (older.device()?, baked.device());
        attach(containerd, &old)?.done()?;
        let running = containerd.start_container(&baked.one, &["/bin/busybox", "sleep", "600"])?;
        let ran = attach(containerd, &new)?;
        ensure!(ran.status == Some(0) && ran.stderr.contains("still read"), "{ran:?}");
        let (status, warm) = status(containerd)?;
        ensure!(warm && status["disks"].as_array().map(Vec::len) == Some(1), "{status:#}");
        drop(running);
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_the_runtime_has_apart_from_disks_is_told_and_is_not_counted() {
    let baked = Baked::new();
    let device = baked.device();
    let own = LayerBuilder::default().entry(Entry::file("apart", "x")).build(Compression::Gzip).unwrap();
    let image = ImageBuilder::default().layer(&own).build();
    let layer = image.chain_ids()[0].to_string();
    let apart = baked.registry.push(&image, "status/apart:1").unwrap();
    on_each(|containerd| {
        containerd.pull(&apart)?;
        let apart = apart.to_string();
        let table = node(containerd, &["status", "--node"])?.done()?;
        ensure!(table.starts_with("nothing is attached") && table.contains(&apart), "{table}");
        ensure!(table.contains("runtime"), "{table}");
        let _state = State::of(containerd);
        attach(containerd, &device)?.done()?;
        let (seen, warm) = status(containerd)?;
        ensure!(warm && origin(&seen, &apart)? == "runtime", "{seen:#}");
        ensure!(find(&seen, &apart)?["layers"] == 1 && reasons(&seen, &apart)?.is_empty(), "{seen:#}");
        ensure!(origin(&seen, &baked.one)? == "disk", "{seen:#}");
        containerd.ctr(&["snapshots", "rm", &layer])?;
        let (seen, warm) = status(containerd)?;
        ensure!(warm && reasons(&seen, &apart)? == ["layersMissing"], "{seen:#}");
        Ok(())
    })
    .unwrap();
}

/// Waits for what a process in the background is to do.
fn soon(what: &str, mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !seen()? {
        ensure!(start.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn a_disk_is_read_through_in_the_background_and_once() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        let disks = State::of(containerd);
        node(containerd, &["attach", "--hydrate", "--disk", &device.path().to_string_lossy()])?.done()?;
        let state = |status: &Value| status["disks"][0]["hydration"]["state"].clone();
        soon("the end of hydration", || Ok(state(&status(containerd)?.0) == "done"))?;
        let (seen, _) = status(containerd)?;
        let hydration = &seen["disks"][0]["hydration"];
        ensure!(
            hydration["read"] == hydration["total"] && hydration["read"].as_u64() > Some(1 << 20),
            "{seen:#}"
        );
        let hydrate = ["hydrate".to_owned(), place(&disks)?.to_string_lossy().into_owned()];
        let again = larder(hydrate.iter().chain(&node_arguments(containerd)[2..]))?;
        ensure!(again.status == Some(0) && again.stderr.contains("read already"), "{again:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn hydration_ends_when_the_disk_goes_and_says_so() {
    let baked = Baked::new();
    let device = baked.device();
    on_each(|containerd| {
        // So slow that it cannot be through before the disk is gone.
        let disks = State::of(containerd);
        let path = device.path().to_string_lossy();
        node(containerd, &["attach", "--hydrate", "--hydrate-rate", "64K", "--disk", &path])?.done()?;
        let state = || Ok::<_, anyhow::Error>(status(containerd)?.0["disks"][0]["hydration"].clone());
        soon("hydration", || Ok(state()?["state"] == "running"))?;
        disks.unmount();
        soon("the end of hydration", || Ok(state()?["state"] == "ended"))?;
        let ended = state()?;
        ensure!(ended["message"] == "the disk went away", "{ended:#}");
        ensure!(ended["read"].as_u64() < ended["total"].as_u64(), "{ended:#}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_directory_on_no_device_and_an_unknown_disk_are_refused() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(directory.path().join("index.json"), "{}").unwrap();
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let unknown = format!("sha256:{}", "0".repeat(64));
    let refusals = [
        (directory.path().to_str().unwrap(), "not on a block device"),
        (&unknown, "is not mounted"),
        ("/dev/null", "block device"),
    ];
    for (disk, reason) in refusals {
        let ran = larder(["hydrate", disk, "--state-dir", state]).unwrap();
        assert!(ran.status == Some(1) && ran.stderr.contains(reason), "{ran:?}");
    }
    assert_eq!(larder(["hydrate", "/dev/null", "--rate", "0"]).unwrap().status, Some(2));
}

/// The owner of a program in the image, as a pod with mapped users sees it.
fn owner_with_mapped_users(containerd: &Containerd, image: &str) -> Result<String> {
    let argv = ["/bin/busybox", "stat", "-c", "%u:%g", "/bin/busybox"];
    let finished = containerd.start_container_with_mapped_users(image, &argv)?.finish()?;
    ensure!(finished.exit_code == 0, "{finished:?}");
    Ok(finished.stdout.trim().to_owned())
}

fn expect_owner_as_the_limit_says(containerd: &Containerd, device: &LoopDevice, image: &str) -> Result<()> {
    let _state = State::of(containerd);
    attach(containerd, device)?.done()?;
    let limited = status(containerd)?.0["limits"].as_array().is_some_and(|limits| !limits.is_empty());
    let seen = owner_with_mapped_users(containerd, image)?;
    let wanted = if limited { "65534:65534" } else { "0:0" };
    ensure!(seen == wanted, "{seen}, not {wanted}: if the limit is lifted, idmaps_snapshots is to say so");
    node(containerd, &["detach"])?.done()?;
    containerd.pull(&image.parse()?)?;
    let seen = owner_with_mapped_users(containerd, image)?;
    ensure!(seen == "0:0", "pulled as usual: {seen}");
    Ok(())
}

/// containerd 1.6's CRI knows no mapped users.
#[test]
fn pods_with_mapped_users_see_wrong_owners_on_attached_layers_where_the_limit_is_told() {
    let baked = Baked::new();
    let device = baked.device();
    for version in [Version::V1_7, Version::V2_1] {
        let containerd = Containerd::start_for_mapped_users(version).unwrap();
        let judged = expect_owner_as_the_limit_says(&containerd, &device, &baked.one);
        judged.with_context(|| format!("on containerd {version}")).unwrap();
    }
}
