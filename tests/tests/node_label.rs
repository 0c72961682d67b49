//! The label on the node that says how its prefetch went, against a real API server.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use larder_node::{LabelError, NodeLabeller, Prefetch};
use larder_tests::kubernetes::ApiServer;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const LABEL: &str = "image-prefetcher.stackrox.io/team-images";

/// Shared by the tests of this process that do not disturb it; nodes are each test's own.
fn shared() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    SERVER.get_or_init(|| ApiServer::start().unwrap())
}

fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

fn make_node(server: &ApiServer, name: &str) -> Api<Node> {
    let nodes: Api<Node> = Api::all(server.client().unwrap());
    let node = object(json!({ "metadata": { "name": name, "labels": { "kept": "yes" } } }));
    server.wait(nodes.create(&PostParams::default(), &node)).unwrap();
    nodes
}

fn labels(server: &ApiServer, nodes: &Api<Node>, name: &str) -> BTreeMap<String, String> {
    server.wait(nodes.get(name)).unwrap().metadata.labels.unwrap()
}

fn set(server: &ApiServer, client: Client, node: &str, prefetch: Prefetch) -> Result<(), LabelError> {
    let labeller = NodeLabeller::new(client);
    server.wait(labeller.set(node, "team/images", prefetch, LIMIT))
}

#[test]
fn the_label_follows_the_prefetch_in_both_directions_and_leaves_others_alone() {
    let server = shared();
    let nodes = make_node(server, "both-directions");
    for (prefetch, expected) in [
        (Prefetch::Running, None),
        (Prefetch::Succeeded, Some("succeeded")),
        (Prefetch::Running, None),
        (Prefetch::Running, None),
        (Prefetch::Failed, Some("failed")),
        (Prefetch::Succeeded, Some("succeeded")),
        (Prefetch::Failed, Some("failed")),
    ] {
        set(server, server.client().unwrap(), "both-directions", prefetch).unwrap();
        let mut labels = labels(server, &nodes, "both-directions");
        assert_eq!(labels.remove(LABEL).as_deref(), expected);
        assert_eq!(labels, BTreeMap::from([("kept".to_owned(), "yes".to_owned())]));
    }
}

#[test]
fn each_instance_has_a_label_of_its_own() {
    let server = shared();
    let nodes = make_node(server, "instances");
    let labeller = NodeLabeller::new(server.client().unwrap());
    for (instance, prefetch) in
        [("one", Prefetch::Succeeded), ("two", Prefetch::Failed), ("", Prefetch::Failed)]
    {
        server.wait(labeller.set("instances", instance, prefetch, LIMIT)).unwrap();
    }
    let labels = labels(server, &nodes, "instances");
    let value = |name: &str| labels[&format!("image-prefetcher.stackrox.io/{name}")].clone();
    assert_eq!(["one", "two", "prefetcher"].map(value), ["succeeded", "failed", "failed"]);
}

#[test]
fn the_right_to_get_and_patch_nodes_is_all_that_is_needed_and_without_it_the_end_comes_at_once() {
    let server = shared();
    make_node(server, "rights");
    let user = "system:serviceaccount:default:prefetcher";
    let started = Instant::now();
    let error = set(server, server.client_as(user).unwrap(), "rights", Prefetch::Failed).unwrap_err();
    assert!(matches!(&error, LabelError::Refused { node, .. } if node == "rights"), "{error:?}");
    assert!(started.elapsed() < LIMIT / 3, "{:?}", started.elapsed());

    let rules = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"] }]);
    let role: ClusterRole = object(json!({ "metadata": { "name": "labeler" }, "rules": rules }));
    let binding: ClusterRoleBinding = object(json!({
        "metadata": { "name": "labeler" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "labeler" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    }));
    let administrator = || server.client().unwrap();
    server.wait(Api::all(administrator()).create(&PostParams::default(), &role)).unwrap();
    server.wait(Api::all(administrator()).create(&PostParams::default(), &binding)).unwrap();
    larder_tests::process::until("the role is known", LIMIT, || {
        Ok(set(server, server.client_as(user)?, "rights", Prefetch::Failed)?)
    })
    .unwrap();
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let server = shared();
    let error = set(server, server.client().unwrap(), "nobody", Prefetch::Succeeded).unwrap_err();
    assert_eq!(error.to_string(), format!("the API server refuses label {LABEL} on node nobody"));
}

#[test]
fn a_label_that_somebody_else_set_is_replaced() {
    let server = shared();
    let nodes = make_node(server, "stale");
    let stale = json!({ "metadata": { "labels": { (LABEL): "succeeded" } } });
    server.wait(nodes.patch("stale", &PatchParams::default(), &Patch::Merge(&stale))).unwrap();
    set(server, server.client().unwrap(), "stale", Prefetch::Failed).unwrap();
    assert_eq!(labels(server, &nodes, "stale")[LABEL], "failed");
}

#[test]
fn an_api_server_that_hangs_is_waited_for_and_no_longer_than_the_limit() {
    let server = ApiServer::start().unwrap();
    let nodes = make_node(&server, "patient");
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    let labeller = NodeLabeller::new(server.client().unwrap());

    kill_process(pid, Signal::STOP).unwrap();
    let (started, limit) = (Instant::now(), Duration::from_secs(2));
    let error = server.wait(labeller.set("patient", "team/images", Prefetch::Failed, limit)).unwrap_err();
    let took = started.elapsed();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(matches!(error, LabelError::TimedOut { .. }), "{error:?}");
    assert!(took >= limit && took < limit + Duration::from_secs(1), "{took:?}");

    kill_process(pid, Signal::STOP).unwrap();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        kill_process(pid, Signal::CONT).unwrap();
    });
    server.wait(labeller.set("patient", "team/images", Prefetch::Succeeded, LIMIT)).unwrap();
    waker.join().unwrap();
    assert_eq!(labels(&server, &nodes, "patient")[LABEL], "succeeded");
}
