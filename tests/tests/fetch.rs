//! `larder fetch` on every containerd with a real registry and a failing one, and on a runtime that is nothing but CRI.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use larder_core::{Digest, ImageRef, media_type};
use larder_tests::blocking;
use larder_tests::containerd::{Containerd, on_each};
use larder_tests::cri_server::{Answer, CriServer, Pull};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, LayerBuilder, busybox};
use larder_tests::larder::{Ran, binary, command, finished};
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::process::wait_and_watch_memory;
use larder_tests::proxy::{Fault, Kind, Proxy, ProxyBuilder};
use larder_tests::registry::{Credentials, Registry};
use tonic::Code;

/// What a test allows beyond a deadline: the program's own start and end on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
/// Pauses short enough for tests, and no disk floor: the machine's disk is not what is tested.
const QUICK: [&str; 4] =
    ["--initial-pull-attempt-delay=100ms", "--max-pull-attempt-delay=400ms", "--min-free=0", "--debug=false"];

fn fetch(socket: &Path, arguments: &[&str]) -> Ran {
    let mut fetch = command().unwrap();
    fetch.arg("fetch").arg("--cri-socket").arg(socket).args(QUICK).args(arguments);
    finished(&mut fetch).unwrap()
}

fn timed(socket: &Path, arguments: &[&str]) -> (Ran, Duration) {
    let started = Instant::now();
    (fetch(socket, arguments), started.elapsed())
}

fn small(text: &str) -> Image {
    let own = LayerBuilder::default().entry(Entry::file("own", text)).build(Compression::Gzip).unwrap();
    ImageBuilder::default().layer(&own).cmd(&["x"]).build()
}

fn list(lines: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn has_line(ran: &Ran, begin: &str) -> bool {
    ran.stdout.lines().chain(ran.stderr.lines()).any(|line| line.starts_with(begin))
}

#[test]
fn a_list_is_pulled_once_and_what_is_there_is_confirmed_and_latest_is_pulled_again() {
    let registry = Registry::start().unwrap();
    let image = ImageBuilder::default().layer(&busybox().unwrap().build(Compression::Gzip).unwrap());
    let image = image.cmd(&["/bin/busybox", "echo", "fetched"]).build();
    let fixed = registry.push(&image, "fetch/fixed:1").unwrap();
    let moving = registry.push(&small("m"), "fetch/moving:latest").unwrap();
    let pinned = registry.push(&small("p"), "fetch/pinned:1").unwrap().at(small("p").digest());
    let moving = moving.to_string().replace(":latest", "");
    let file = list(&format!("# two\r\n\r\n  {fixed}\r\n{moving}\r\n{fixed}\r\n"));
    let pinned = pinned.to_string();
    on_each(|containerd| {
        let socket = containerd.socket();
        let first = fetch(&socket, &["--image-list-file", path(&file), &pinned]);
        ensure!(first.status == Some(0), "{first:?}");
        for image in [&fixed.to_string(), &format!("{moving}:latest"), &pinned] {
            ensure!(has_line(&first, &format!("{image}: pulled, ")), "{image}: {first:?}");
        }
        let ran = containerd.run(&fixed.to_string(), &[])?;
        ensure!(ran.stdout == "fetched\n", "{ran:?}");
        let again = fetch(&socket, &["--image-list-file", path(&file), &pinned, "--quiet"]);
        let said = format!("{fixed}: present\n{pinned}: present\n{moving}:latest: pulled, ");
        ensure!(again.status == Some(0) && again.stdout.starts_with(&said), "{again:?}");
        let always = fetch(&socket, &["--always", &fixed.to_string()]);
        ensure!(always.status == Some(0) && has_line(&always, &format!("{fixed}: pulled")), "{always:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn under_the_name_image_prefetcher_it_takes_the_prefetchers_command_line() {
    let node = CriServer::start(|_| Answer::Pulled).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let alias = directory.path().join("image-prefetcher");
    std::os::unix::fs::symlink(binary().unwrap(), &alias).unwrap();
    let file = list("a:1\nb:1\n");
    let mut prefetcher = std::process::Command::new(&alias);
    prefetcher.arg("fetch").arg("--cri-socket").arg(node.socket()).args([
        "--image-list-file",
        path(&file),
        "c:1",
    ]);
    prefetcher.args(["--docker-config=", "--metrics-endpoint=", "--min-free=0"]);
    let ran = finished(&mut prefetcher).unwrap();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(node.images(), ["a:1", "b:1", "c:1"].map(|name| format!("quay.example/{name}")));
    let ran = finished(std::process::Command::new(&alias).args(["build", "a:1", "-o", "x"])).unwrap();
    assert_eq!(ran.status, Some(2), "{ran:?}");
}

#[test]
fn what_can_never_succeed_ends_at_once_and_is_named() {
    let open = Registry::start().unwrap();
    let there = open.push(&small("x"), "fetch/there:1").unwrap().to_string();
    let credentials = Credentials { user: "lab".to_owned(), password: "secret".to_owned() };
    let closed = Registry::start_with_basic_auth(credentials).unwrap();
    let denied = closed.push(&small("y"), "fetch/denied:1").unwrap().to_string();
    let s390x = ImageBuilder::default().platform("linux/s390x".parse().unwrap());
    let s390x = s390x.layer(&LayerBuilder::default().build(Compression::Gzip).unwrap()).build();
    let foreign = larder_tests::image::MultiImage::of(vec![s390x]);
    let foreign = open.push_multi(&foreign, "fetch/foreign:1").unwrap().to_string();
    let (gone, no_tag) =
        (format!("{}/fetch/gone:1", open.address()), format!("{}/fetch/there:2", open.address()));
    let file = list(&format!("{gone}\n{no_tag}\n{denied}\n{foreign}\nNO REFERENCE\n{there}\n"));
    on_each(|containerd| {
        let (ran, took) = timed(&containerd.socket(), &["--image-list-file", path(&file)]);
        println!("containerd {}: {}", containerd.version(), ran.stderr);
        ensure!(ran.status == Some(1), "{ran:?}");
        for image in [&gone, &no_tag, &denied, &foreign, "NO REFERENCE"] {
            ensure!(has_line(&ran, &format!("error: image {image}: ")), "{image}: {ran:?}");
        }
        ensure!(has_line(&ran, &format!("{there}: pulled, ")), "the rest is pulled: {ran:?}");
        ensure!(!ran.stderr.contains("again in"), "nothing was tried twice: {ran:?}");
        ensure!(took < Duration::from_secs(20), "it took {took:?}");
        Ok(())
    })
    .unwrap();
}

/// An image in a registry.
struct Pushed<'a> {
    registry: &'a Registry,
    reference: ImageRef,
    config: Digest,
}

impl<'a> Pushed<'a> {
    fn new(registry: &'a Registry, name: &str) -> Self {
        let image = small(name);
        let reference = registry.push(&image, &format!("fetch/{name}:1")).unwrap();
        Self { registry, reference, config: image.config.descriptor.digest }
    }

    /// The same image by way of a proxy of its own, which fails so many times.
    fn behind(&self, kind: Kind, fault: &Fault, times: usize) -> (Proxy, String) {
        let proxy = ProxyBuilder::default().config(self.config).fault(kind, fault.clone(), times);
        let proxy = proxy.start(self.registry).unwrap();
        let reference = proxy.reference(&self.reference).unwrap().to_string();
        (proxy, reference)
    }
}

#[test]
fn what_may_pass_is_tried_again_until_it_has() {
    let registry = Registry::start().unwrap();
    let table = [
        ("busy", Kind::Manifest, Fault::Busy(0)),
        ("broken", Kind::Manifest, Fault::Status(500)),
        ("unavailable", Kind::Layer, Fault::Status(503)),
        ("cut", Kind::Layer, Fault::Cut),
        ("reset", Kind::Layer, Fault::Reset),
        ("stalled", Kind::Layer, Fault::Stalled),
    ];
    let table = table.map(|(name, kind, fault)| (name, Pushed::new(&registry, name), kind, fault));
    on_each(|containerd| {
        for (name, image, kind, fault) in &table {
            let (_proxy, image) = image.behind(*kind, fault, 3);
            let ran = fetch(&containerd.socket(), &[&image, "--initial-pull-attempt-timeout=2s"]);
            println!("containerd {}, {name}: {}", containerd.version(), ran.stderr);
            ensure!(ran.status == Some(0) && has_line(&ran, &format!("{image}: pulled")), "{name}: {ran:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn deadlines_hold_to_the_second_and_pauses_do_not_outlast_them() {
    let registry = Registry::start().unwrap();
    let forever = Pushed::new(&registry, "forever");
    on_each(|containerd| {
        let (_proxy, stalled) = forever.behind(Kind::Layer, &Fault::Stalled, 1000);
        let limits = ["--overall-timeout=4s", "--initial-pull-attempt-timeout=1s"];
        let (ran, took) = timed(&containerd.socket(), &[&[stalled.as_str()][..], &limits].concat());
        ensure!(
            ran.status == Some(1)
                && has_line(&ran, &format!("error: image {stalled}: not pulled in the time")),
            "{ran:?}"
        );
        ensure!(took < Duration::from_secs(4) + SLACK, "{took:?}: {ran:?}");
        Ok(())
    })
    .unwrap();
    let node = CriServer::start(|_| Answer::Fails(Code::Unknown, "something new".to_owned())).unwrap();
    let (ran, took) = timed(
        &node.socket(),
        &["a:1", "--overall-timeout=3s", "--initial-pull-attempt-delay=1h", "--max-pull-attempt-delay=1h"],
    );
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(took < Duration::from_secs(3) + SLACK, "{took:?}");
    let node = CriServer::start(|_| Answer::Hangs).unwrap();
    let (ran, took) = timed(&node.socket(), &["a:1", "b:1", "c:1", "d:1", "--overall-timeout=2s"]);
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(2) + SLACK, "{took:?}");
    for image in ["a:1", "b:1", "c:1", "d:1"] {
        assert!(has_line(&ran, &format!("error: image {image}: not pulled in the time")), "{ran:?}");
    }
}

#[test]
fn a_full_disk_in_the_middle_of_a_pull_ends_that_image_and_says_so() {
    let registry = Registry::start().unwrap();
    let mut noise = vec![0; 8 << 20];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    let layer = LayerBuilder::default().entry(Entry::file("noise", noise)).build(Compression::Gzip).unwrap();
    let large =
        registry.push(&ImageBuilder::default().layer(&layer).cmd(&["x"]).build(), "fetch/large:1").unwrap();
    let large = large.to_string();
    on_each(|containerd| {
        let content = containerd.root().join("io.containerd.content.v1.content");
        rustix::mount::mount(
            "none",
            &content,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(c"size=4m"),
        )?;
        fs::create_dir_all(content.join("ingest"))?;
        fs::create_dir_all(content.join("blobs/sha256"))?;
        let (ran, took) = timed(&containerd.socket(), &[&large]);
        println!("containerd {}: {}", containerd.version(), ran.stderr);
        rustix::mount::unmount(&content, rustix::mount::UnmountFlags::DETACH)?;
        ensure!(ran.status == Some(1) && ran.stderr.contains("no space left on device"), "{ran:?}");
        ensure!(took < Duration::from_secs(30), "it was not tried again and again: {took:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_image_that_does_not_fit_is_refused_before_it_is_pulled() {
    let registry = Registry::start().unwrap();
    let mut noise = vec![0; 12 << 20];
    fastrand::Rng::with_seed(2).fill(&mut noise);
    let layer = LayerBuilder::default().entry(Entry::file("noise", noise)).build(Compression::Gzip).unwrap();
    let large =
        registry.push(&ImageBuilder::default().layer(&layer).build(), "fetch/large:1").unwrap().to_string();
    let little = registry.push(&small("l"), "fetch/little:1").unwrap().to_string();
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(32 << 20).unwrap();
    larder_tests::process::run(
        std::process::Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(disk.path()),
    )
    .unwrap();
    let device = LoopDevice::attach(disk.path(), Access::ReadWrite).unwrap();
    let mount = Mount::ext4(device.path(), Access::ReadWrite).unwrap();
    let node = CriServer::start_with(("cri-o", "1.33.0"), Some(mount.path().to_owned()), |_| Answer::Pulled)
        .unwrap();
    // Of 32 MiB about 27 are free, of which 22 are above the kubelet's 15%: too few for twice 12.
    let mut fetch = command().unwrap();
    let ran =
        finished(fetch.arg("fetch").arg("--cri-socket").arg(node.socket()).args([&large, &little])).unwrap();
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(has_line(&ran, &format!("error: image {large}: the image file system has room for ")), "{ran:?}");
    assert_eq!(node.images(), std::slice::from_ref(&little), "{ran:?}");
    // Nothing is pulled below the floor, and nobody is asked.
    let before = registry.requests().unwrap().len();
    let ran = finished(command().unwrap().arg("fetch").arg("--cri-socket").arg(node.socket()).args([
        "--min-free=100%",
        "--always",
        &little,
    ]))
    .unwrap();
    assert_eq!((ran.status, node.pulls().len()), (Some(1), 1), "{ran:?}");
    assert_eq!(registry.requests().unwrap().len(), before, "{ran:?}");
    // With no floor it is the runtime's affair.
    let ran = finished(
        command().unwrap().arg("fetch").arg("--cri-socket").arg(node.socket()).args(["--min-free=0", &large]),
    )
    .unwrap();
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn a_floor_that_cannot_be_watched_is_refused_when_it_was_asked_for() {
    let node =
        CriServer::start_with(("cri-o", "1.33.0"), Some("/nowhere/containers".into()), |_| Answer::Pulled)
            .unwrap();
    let run = |floor: &[&str]| {
        finished(
            command().unwrap().arg("fetch").arg("--cri-socket").arg(node.socket()).arg("a:1").args(floor),
        )
        .unwrap()
    };
    let ran = run(&["--min-free=1G"]);
    assert!(ran.status == Some(1) && ran.stderr.contains("/nowhere/containers"), "{ran:?}");
    assert_eq!(node.pulls().len(), 0);
    let ran = run(&[]);
    assert!(
        ran.status == Some(0) && ran.stderr.contains("no disk floor is kept: /nowhere/containers"),
        "{ran:?}"
    );
}

#[test]
fn without_a_runtime_at_the_socket_the_status_is_3_within_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.sock");
    let silent = directory.path().join("silent.sock");
    let _silent = UnixListener::bind(&silent).unwrap();
    for socket in [&absent, &silent, &PathBuf::from("/dev/null")] {
        let (ran, took) = timed(socket, &["a:1"]);
        assert!(ran.status == Some(3) && ran.stderr.contains(socket.to_str().unwrap()), "{ran:?}");
        assert!(took < Duration::from_secs(5) + SLACK, "{socket:?}: {took:?}");
    }
    // A runtime that comes up meanwhile is found.
    let late = CriServer::start(|_| Answer::Pulled).unwrap();
    let link = directory.path().join("late.sock");
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| fetch(&link, &["a:1"]));
        std::thread::sleep(Duration::from_secs(1));
        std::os::unix::fs::symlink(late.socket(), &link).unwrap();
        let ran = fetching.join().unwrap();
        assert_eq!(ran.status, Some(0), "{ran:?}");
    });
    let usage: [&[&str]; 4] =
        [&[], &["a b"], &["a:1", "--min-free=x"], &["a:1", "--image-credential-provider-config=/x"]];
    for arguments in usage {
        let ran = fetch(&absent, arguments);
        assert_eq!(ran.status, Some(2), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn containerd_restarted_in_the_middle_of_a_pull_is_waited_for() {
    let registry = Registry::start().unwrap();
    let restarted = Pushed::new(&registry, "restarted");
    on_each(|containerd: &mut Containerd| {
        let (proxy, image) = restarted.behind(Kind::Layer, &Fault::Stalled, 1);
        let socket = containerd.socket();
        let ran = std::thread::scope(|scope| {
            let fetching = scope.spawn(|| fetch(&socket, &[&image, "--overall-timeout=1m"]));
            let begun = Instant::now();
            while proxy.count(Kind::Layer) == 0 && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(50));
            }
            containerd.restart()?;
            anyhow::Ok(fetching.join().unwrap())
        })?;
        println!("containerd {}: {}", containerd.version(), ran.stderr);
        ensure!(ran.status == Some(0) && has_line(&ran, &format!("{image}: pulled")), "{ran:?}");
        ensure!(ran.stderr.contains("again in"), "the restart was noticed: {ran:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn at_most_so_many_pulls_run_at_once_and_a_broken_image_holds_up_no_other() {
    let script = |pull: &Pull| match pull.image.as_str() {
        "broken:1" => Answer::Fails(Code::Unknown, "something new".to_owned()),
        _ => Answer::PulledAfter(Duration::from_millis(100)),
    };
    let node = CriServer::start(script).unwrap();
    let images: Vec<String> = (0..20).map(|n| format!("good/{n}:1")).collect();
    let mut arguments = vec!["broken:1", "--max-parallel-pulls=4", "--overall-timeout=3s"];
    arguments.extend(images.iter().map(String::as_str));
    let ran = fetch(&node.socket(), &arguments);
    assert_eq!((ran.status, node.images().len()), (Some(1), 20), "{ran:?}");
    assert_eq!(node.most_at_once(), 4);
    let pulls = node.pulls();
    assert!(pulls.iter().filter(|pull| pull.image == "broken:1").count() > 2, "it is tried again meanwhile");
}

#[test]
fn ten_thousand_lines_with_repetitions_are_pulled_once_each_in_little_memory() {
    let node = CriServer::start(|_| Answer::Pulled).unwrap();
    node.add("h.example/there/0:1");
    let lines: Vec<String> = (0..10_000).map(|n| format!("h.example/there/{}:1\r\n", n % 5000)).collect();
    let file = list(&lines.concat());
    let mut fetch = command().unwrap();
    fetch.arg("fetch").arg("--cri-socket").arg(node.socket()).args([
        "--image-list-file",
        path(&file),
        "--min-free=0",
    ]);
    let mut running = fetch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (status, most) = wait_and_watch_memory(&mut running).unwrap();
    println!("5000 images: {most} bytes of anonymous memory");
    assert_eq!(status.code(), Some(0));
    assert_eq!((node.pulls().len(), node.images().len()), (4999, 5000));
    assert!(most < 32 << 20, "{most} bytes");
}

/// What a runtime would ask a registry for, without storing it.
async fn pull_from(http: &reqwest::Client, registry: &str, reference: &ImageRef) -> Result<()> {
    let base = format!("http://{registry}/v2/{}", reference.repository());
    let url = format!("{base}/manifests/{}", reference.tag().unwrap_or_default());
    let manifest =
        http.get(url).header("accept", media_type::OCI_MANIFEST).send().await?.error_for_status()?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes().await?)?;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let digest = layer["digest"].as_str().unwrap_or_default();
        http.get(format!("{base}/blobs/{digest}")).send().await?.error_for_status()?.bytes().await?;
    }
    Ok(())
}

#[test]
fn twenty_fetchers_stay_correct_with_and_without_a_start_spread() {
    let registry = Registry::start().unwrap();
    let images: Vec<String> = (0..5)
        .map(|n| registry.push(&small(&format!("{n}")), &format!("fetch/fleet-{n}:1")).unwrap().to_string())
        .collect();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for spread in ["0s", "3s"] {
        let in_flight = std::sync::Arc::new(std::sync::Mutex::new((0_usize, 0_usize)));
        let nodes: Vec<CriServer> = (0..20)
            .map(|_| {
                let (address, in_flight) = (registry.address().to_owned(), std::sync::Arc::clone(&in_flight));
                let http = http.clone();
                let script = move |pull: &Pull| {
                    let mut now = in_flight.lock().unwrap();
                    now.0 += 1;
                    now.1 = now.1.max(now.0);
                    drop(now);
                    std::thread::sleep(Duration::from_millis(20));
                    let pulled = blocking::wait(pull_from(&http, &address, &pull.image.parse().unwrap()));
                    in_flight.lock().unwrap().0 -= 1;
                    match pulled {
                        Ok(()) => Answer::Pulled,
                        Err(error) => Answer::Fails(Code::Unknown, format!("{error:#}")),
                    }
                };
                CriServer::start(script).unwrap()
            })
            .collect();
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = nodes
                .iter()
                .enumerate()
                .map(|(n, node)| {
                    let images = &images;
                    scope.spawn(move || {
                        let mut fetch = command().unwrap();
                        fetch
                            .env("NODE_NAME", format!("node-{n}"))
                            .arg("fetch")
                            .arg("--cri-socket")
                            .arg(node.socket());
                        finished(fetch.args(QUICK).args(images).arg(format!("--start-spread={spread}")))
                            .unwrap()
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        println!(
            "20 fetchers, start spread {spread}: at most {} pulls in flight",
            in_flight.lock().unwrap().1
        );
        assert!(statuses.iter().all(|ran| ran.status == Some(0)), "{statuses:?}");
        assert!(nodes.iter().all(|node| node.images().len() == images.len()));
    }
}

#[test]
fn an_interrupt_ends_it_with_a_status_of_its_own() {
    let node = CriServer::start(|_| Answer::Hangs).unwrap();
    let mut fetch = command().unwrap();
    fetch.arg("fetch").arg("--cri-socket").arg(node.socket()).args(["a:1", "--min-free=0"]);
    let mut running = fetch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while node.pulls().is_empty() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
}
