//! `larder fetch` in a cluster, as a process beside a real API server: pull secrets by name, and the node's label.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Namespace, Node, Secret};
use kube::Api;
use kube::api::PostParams;
use larder_tests::containerd::{Containerd, Version};
use larder_tests::cri_server::{Answer, CriServer};
use larder_tests::image::{Compression, Entry, ImageBuilder, LayerBuilder};
use larder_tests::kubernetes::ApiServer;
use larder_tests::larder::{command, finished};
use larder_tests::process::until;
use larder_tests::registry::{Credentials, Registry};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(30);
const LABEL: &str = "image-prefetcher.stackrox.io/team-images";

/// Shared by the tests of this process that do not disturb it.
fn shared() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = ApiServer::start().unwrap();
        make_namespace(&server);
        server
    })
}

fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

fn make_namespace(server: &ApiServer) {
    let namespace: Namespace = object(json!({ "metadata": { "name": "team" } }));
    server.wait(Api::all(server.client().unwrap()).create(&PostParams::default(), &namespace)).unwrap();
}

fn make_secret(server: &ApiServer, name: &str, kind: &str, key: &str, data: &Value) {
    let data = json!({ key: data.to_string() });
    let secret: Secret = object(json!({ "metadata": { "name": name }, "type": kind, "stringData": data }));
    let secrets = Api::namespaced(server.client().unwrap(), "team");
    server.wait(secrets.create(&PostParams::default(), &secret)).unwrap();
}

/// A kubeconfig of `user`, or of the administrator, whose context is the namespace `team`.
fn kubeconfig(server: &ApiServer, directory: &TempDir, user: Option<&str>) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&fs::read(server.kubeconfig()).unwrap()).unwrap();
    config["contexts"][0]["context"]["namespace"] = json!("team");
    if let Some(user) = user {
        config["users"][0]["user"]["as"] = json!(user);
    }
    let path = directory.path().join(user.unwrap_or("administrator"));
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// A registry that lets only `lab` in, an image there, and the entry of a docker configuration that opens it.
fn closed() -> (Registry, String, Value) {
    let layer = LayerBuilder::default().entry(Entry::file("x", "private")).build(Compression::Gzip).unwrap();
    let credentials = Credentials { user: "lab".to_owned(), password: "s3cret".to_owned() };
    let registry = Registry::start_with_basic_auth(credentials).unwrap();
    let image = registry.push(&ImageBuilder::default().layer(&layer).build(), "team/private:1").unwrap();
    let auths = json!({ registry.address(): { "username": "lab", "password": "s3cret" } });
    (registry, image.to_string(), auths)
}

#[test]
fn pull_secrets_open_a_registry_and_one_that_cannot_be_had_is_named() {
    const JSON: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
    const LEGACY: (&str, &str) = ("kubernetes.io/dockercfg", ".dockercfg");
    let server = shared();
    let (_registry, image, auths) = closed();
    let config = json!({ "auths": &auths });
    for (name, (kind, key), data) in [
        ("regcred", JSON, &config),
        ("legacy", LEGACY, &auths),
        ("opaque", ("Opaque", JSON.1), &config),
        ("malformed", JSON, &json!({ "auths": "s3cret" })),
        ("elsewhere", JSON, &json!({ "auths": { "other.example": { "auth": "bGFiOnMzY3JldA==" } } })),
    ] {
        make_secret(server, name, kind, key, data);
    }
    let directory = tempfile::tempdir().unwrap();
    let administrator = kubeconfig(server, &directory, None);
    let nobody = kubeconfig(server, &directory, Some("system:serviceaccount:team:nobody"));
    let containerd = Containerd::start(Version::V2_1).unwrap();
    let table: [(&[&str], _, i32, &str); 9] = [
        (&["regcred"], Some(&administrator), 0, ""),
        (&["legacy"], Some(&administrator), 0, ""),
        (&["team/legacy"], Some(&administrator), 0, ""),
        (&["missing", "malformed", "regcred"], Some(&administrator), 0, "error: pull secret team/missing: "),
        (&["other/regcred"], Some(&administrator), 1, "error: pull secret other/regcred: "),
        (&["opaque"], Some(&administrator), 1, "secret team/opaque is of type \"Opaque\""),
        (&["malformed", "elsewhere"], Some(&administrator), 1, "pull secret team/malformed is not a Docker"),
        (&["regcred"], Some(&nobody), 1, "forbidden"),
        (&["regcred"], None, 1, "KUBECONFIG is not set"),
    ];
    for (secrets, config, status, expected) in table {
        let mut fetch = command().unwrap();
        fetch.env_remove("KUBECONFIG").arg("fetch").arg("--cri-socket").arg(containerd.socket());
        fetch.args(["--always", "--min-free=0", &image]);
        fetch.args(secrets.iter().flat_map(|secret| ["--pull-secret", secret]));
        if let Some(config) = config {
            fetch.env("KUBECONFIG", config);
        }
        let ran = finished(&mut fetch).unwrap();
        assert_eq!(ran.status, Some(status), "{secrets:?}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{secrets:?}: {ran:?}");
        assert!(!format!("{ran:?}").contains("s3cret"), "no secret is told: {ran:?}");
    }
}

#[test]
fn an_api_server_that_hangs_keeps_only_the_image_waiting_that_needs_its_secret() {
    let server = ApiServer::start().unwrap();
    make_namespace(&server);
    let auths = json!({ "auths": { "closed.example": { "username": "lab", "password": "s3cret" } } });
    make_secret(&server, "regcred", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", &auths);
    let directory = tempfile::tempdir().unwrap();
    let node = CriServer::start(|pull| match pull.user.as_deref() {
        None if pull.image.starts_with("closed") => {
            Answer::Fails(Code::Unknown, "unauthorized: who are you".to_owned())
        }
        _ => Answer::Pulled,
    })
    .unwrap();
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut fetch = command().unwrap();
    fetch.env("KUBECONFIG", kubeconfig(&server, &directory, None)).arg("fetch");
    fetch.arg("--cri-socket").arg(node.socket()).args(["closed.example/a:1", "open.example/a:1"]);
    // One at a time: who waits must not stand in the way.
    fetch.args(["--pull-secret=regcred", "--max-parallel-pulls=1", "--min-free=0"]);
    let running = fetch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let open = until("the open image", LIMIT, || {
        ensure!(node.images() == ["open.example/a:1"], "{:?}", node.images());
        Ok(())
    });
    kill_process(pid, Signal::CONT).unwrap();
    open.unwrap();
    let ran = running.wait_with_output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let users: Vec<_> = node.pulls().into_iter().map(|pull| (pull.image, pull.user)).collect();
    assert_eq!(users.last(), Some(&("closed.example/a:1".to_owned(), Some("lab".to_owned()))), "{users:?}");
}

/// The node as the API server has it.
fn label(server: &ApiServer, node: &str) -> Option<String> {
    let nodes: Api<Node> = Api::all(server.client().unwrap());
    server.wait(nodes.get(node)).unwrap().metadata.labels?.remove(LABEL)
}

fn fetch_on(server: &ApiServer, runtime: &CriServer, node: &str) -> Command {
    let mut fetch = command().unwrap();
    fetch.env("KUBECONFIG", server.kubeconfig()).env("NODE_NAME", node).env("INSTANCE_NAME", "team/images");
    fetch.args(["fetch", "--min-free=0", "a.example/a:1", "--cri-socket"]).arg(runtime.socket());
    fetch
}

#[test]
fn a_fetch_takes_the_nodes_label_away_and_says_in_the_end_how_it_went() {
    let server = shared();
    let stale = json!({ "metadata": { "name": "worker", "labels": { (LABEL): "succeeded" } } });
    let nodes: Api<Node> = Api::all(server.client().unwrap());
    server.wait(nodes.create(&PostParams::default(), &object(stale))).unwrap();
    for (answer, status, expected) in [
        (Answer::Fails(Code::NotFound, "a.example/a:1: not found".to_owned()), 1, "failed"),
        (Answer::Pulled, 0, "succeeded"),
    ] {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let runtime = CriServer::start(move |_| {
            let _ = wait.lock().unwrap().recv();
            answer.clone()
        })
        .unwrap();
        let mut running: Child = fetch_on(server, &runtime, "worker").stderr(Stdio::null()).spawn().unwrap();
        let gone = until("the label is gone", LIMIT, || {
            ensure!(label(server, "worker").is_none(), "it is still there");
            Ok(())
        });
        drop(go);
        let ended = running.wait().unwrap();
        gone.unwrap();
        assert_eq!((ended.code(), label(server, "worker").as_deref()), (Some(status), Some(expected)));
    }
}

#[test]
fn a_label_that_cannot_be_set_is_told_and_no_failure_of_the_fetch() {
    let runtime = CriServer::start(|_| Answer::Pulled).unwrap();
    let ran = finished(&mut fetch_on(shared(), &runtime, "no-such-node")).unwrap();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let told = ran.stderr.lines().find(|line| line.starts_with("error: node label: "));
    let told = told.context("it is told").unwrap();
    assert!(told.contains("no-such-node") && told.contains("not found"), "{told}");
}
