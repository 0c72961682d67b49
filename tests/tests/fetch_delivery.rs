//! What `larder fetch` is given and tells beside pulling: credentials of files and plugins, results for the aggregator, also after
//! the overall time and after an interrupt.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use larder_tests::blocking::wait;
use larder_tests::containerd::on_each;
use larder_tests::cri_server::{Answer, CriServer, IMAGE_SIZE};
use larder_tests::image::{Compression, Entry, ImageBuilder, LayerBuilder};
use larder_tests::larder::{command, finished};
use larder_tests::process::until;
use larder_tests::registry::{Credentials, Registry};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(10);

/// `larder aggregate-metrics` on loopback ports; it ends on drop.
struct Aggregator {
    process: Child,
    grpc: String,
    http: String,
}

impl Aggregator {
    fn start() -> Self {
        let [grpc, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let mut aggregate = command().unwrap();
        aggregate.args(["aggregate-metrics", "--bind=127.0.0.1"]).arg(format!("--grpc-port={}", grpc.port()));
        let process =
            aggregate.arg(format!("--http-port={}", http.port())).stderr(Stdio::null()).spawn().unwrap();
        let aggregator = Self { process, grpc: grpc.to_string(), http: http.to_string() };
        until("the aggregator", START, || aggregator.read()).unwrap();
        aggregator
    }

    fn read(&self) -> anyhow::Result<Vec<Value>> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let text =
            wait(async { http.get(format!("http://{}/metrics", self.http)).send().await?.text().await })?;
        serde_json::from_str(&text).context("read the results")
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lab() -> Credentials {
    Credentials { user: "lab".to_owned(), password: "secret".to_owned() }
}

/// A registry that lets only `lab` in, and an image there.
fn closed() -> (Registry, String) {
    let layer = LayerBuilder::default().entry(Entry::file("x", "private")).build(Compression::Gzip).unwrap();
    let registry = Registry::start_with_basic_auth(lab()).unwrap();
    let image = registry.push(&ImageBuilder::default().layer(&layer).build(), "team/private:1").unwrap();
    (registry, image.to_string())
}

#[test]
fn credentials_of_a_file_open_a_registry_and_a_wrong_one_before_them_does_not_matter() {
    let (registry, image) = closed();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let entry = |password: &str| json!({ "username": "lab", "password": password });
    let auths = json!({ format!("{}/team", registry.address()): entry("wrong"), registry.address(): entry("secret") });
    fs::write(&file, json!({ "auths": auths }).to_string()).unwrap();
    on_each(|containerd| {
        let mut fetch = command()?;
        fetch.arg("fetch").arg("--cri-socket").arg(containerd.socket()).args(["--min-free=0", &image]);
        let denied = finished(&mut fetch)?;
        ensure!(denied.status == Some(1), "{denied:?}");
        let ran = finished(fetch.arg("--docker-config").arg(&file))?;
        ensure!(ran.status == Some(0) && !ran.stderr.contains("again in"), "{ran:?}");
        ensure!(!format!("{ran:?}").contains("secret"), "no secret is told");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_credential_provider_of_the_kubelet_opens_a_registry_and_a_broken_one_is_named() {
    let (registry, image) = closed();
    let directory = tempfile::tempdir().unwrap();
    let (config, programs) = (directory.path().join("config.yaml"), directory.path().join("bin"));
    fs::create_dir(&programs).unwrap();
    let answer = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry", "auth": { registry.address(): { "username": "lab", "password": "secret" } },
    });
    for (name, says) in [("good", answer.to_string()), ("garbage", "<html>".to_owned())] {
        let program = programs.join(name);
        fs::write(&program, format!("#!/bin/sh\ncat > /dev/null\necho '{says}'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let provider = |name: &str| {
        json!({ "name": name, "matchImages": [registry.address()], "defaultCacheDuration": "1m",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1" })
    };
    let providers = json!({
        "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
        "providers": [provider("garbage"), provider("good")],
    });
    fs::write(&config, providers.to_string()).unwrap();
    on_each(|containerd| {
        let mut fetch = command()?;
        fetch.arg("fetch").arg("--cri-socket").arg(containerd.socket()).args(["--min-free=0", &image]);
        fetch.arg("--image-credential-provider-config").arg(&config);
        let ran = finished(fetch.arg("--image-credential-provider-bin-dir").arg(&programs))?;
        ensure!(ran.status == Some(0) && ran.stderr.contains("garbage"), "{ran:?}");
        ensure!(!ran.stderr.contains("secret"), "{ran:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn results_are_delivered_also_when_the_time_for_all_is_over() {
    let aggregator = Aggregator::start();
    let node =
        CriServer::start(|pull| if pull.image == "good:1" { Answer::Pulled } else { Answer::Hangs }).unwrap();
    let mut fetch = command().unwrap();
    fetch.env("NODE_NAME", "worker-7").arg("fetch").arg("--cri-socket").arg(node.socket());
    fetch.args([
        "good:1",
        "hangs:1",
        "--min-free=0",
        "--overall-timeout=2s",
        "--metrics-endpoint",
        &aggregator.grpc,
    ]);
    let ran = finished(&mut fetch).unwrap();
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let mut results = aggregator.read().unwrap();
    results.sort_by_key(|result| result["image"].as_str().unwrap_or_default().to_owned());
    let images: Vec<_> = results.iter().map(|result| result["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["good:1", "hangs:1"], "{results:?}");
    assert!(results.iter().all(|result| result["node"] == "worker-7"));
    assert_eq!((&results[0]["size_bytes"], results[0].get("error")), (&json!(IMAGE_SIZE), None));
    assert!(results[1]["error"].as_str().unwrap().contains("limit"), "{results:?}");
}

#[test]
fn results_are_delivered_also_after_an_interrupt() {
    let aggregator = Aggregator::start();
    let node =
        CriServer::start(|pull| if pull.image == "good:1" { Answer::Pulled } else { Answer::Hangs }).unwrap();
    let mut fetch = command().unwrap();
    fetch.arg("fetch").arg("--cri-socket").arg(node.socket()).args(["good:1", "hangs:1", "--min-free=0"]);
    fetch.args(["--metrics-endpoint", &aggregator.grpc]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = fetch.spawn().unwrap();
    let begun = Instant::now();
    while node.images().is_empty() && begun.elapsed() < START {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(aggregator.read().unwrap().len(), 1);
}
