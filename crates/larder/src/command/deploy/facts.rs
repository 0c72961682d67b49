//! What each variant has to say, as facts about single fields.

use std::collections::BTreeSet;

use clap::Parser as _;
use serde_json::{Value, json};

use super::variants::{all, objects, try_objects};
use crate::cli::Cli;
use crate::deploy::Object;

/// The first object of `kind`, and what is at `pointer` (RFC 6901) in it.
fn at(objects: &[Object], kind: &str, pointer: &str) -> Value {
    let found = values(objects).find(|value| value["kind"] == kind);
    let found = found.unwrap_or_else(|| panic!("no {kind}"));
    found.pointer(pointer).cloned().unwrap_or(Value::Null)
}

fn values(objects: &[Object]) -> impl Iterator<Item = Value> {
    objects.iter().map(|object| serde_json::to_value(object).unwrap())
}

const POD: &str = "/spec/template/spec";
/// What the pods run.
const COMMANDS: [&str; 4] = ["aggregate-metrics", "attach", "fetch", "sleep"];

#[test]
fn each_flag_shows_where_it_should() {
    let full = "prefetcher x --k8s-flavor ocp --namespace ns --secret pull --collect-metrics --max-unavailable 3 \
        --node-selector pool=gpu,zone=a --priority-class high --use-kubelet-image-credential-integration GKE";
    let init = |field: &str| format!("{POD}/initContainers/0/{field}");
    let pod = |field: &str| format!("{POD}/{field}");
    let seed = "prefetcher my-images v0.2.2 vanilla";
    let fetch = ["fetch", "--cri-socket=/tmp/cri/containerd.sock", "--image-list-file=/tmp/list/images.txt"];
    let table: Vec<(&str, &str, String, Value)> = vec![
        (seed, "DaemonSet", "/metadata/name".into(), json!("my-images")),
        (seed, "DaemonSet", init("name"), json!("prefetch")),
        (seed, "DaemonSet", init("image"), json!("docker.io/library/larder:v0.2.2")),
        (seed, "DaemonSet", init("args"), json!(fetch)),
        (seed, "DaemonSet", pod("volumes/2/configMap/name"), json!("my-images")),
        (seed, "DaemonSet", pod("volumes/0/hostPath/path"), json!("/run/containerd")),
        (seed, "DaemonSet", pod("tolerations"), json!([{ "operator": "Exists" }])),
        (seed, "DaemonSet", pod("containers/0/args"), json!(["sleep"])),
        (seed, "DaemonSet", "/spec/updateStrategy/rollingUpdate/maxUnavailable".into(), json!("100%")),
        (seed, "DaemonSet", pod("nodeSelector"), json!({ "kubernetes.io/os": "linux" })),
        (seed, "DaemonSet", pod("priorityClassName"), Value::Null),
        (seed, "DaemonSet", "/spec/template/metadata/annotations".into(), Value::Null),
        (full, "DaemonSet", init("args/1"), json!("--cri-socket=/tmp/cri/crio.sock")),
        (full, "DaemonSet", init("args/3"), json!("--docker-config=/tmp/pull-secret/.dockerconfigjson")),
        (
            full,
            "DaemonSet",
            init("args/4"),
            json!("--image-credential-provider-config=/tmp/kubelet/cri_auth_config.yaml"),
        ),
        (full, "DaemonSet", init("args/5"), json!("--image-credential-provider-bin-dir=/tmp/kubelet-bin")),
        (full, "DaemonSet", init("args/6"), json!("--metrics-endpoint=x-metrics-grpc:8443")),
        (full, "DaemonSet", init("securityContext/seLinuxOptions/type"), json!("spc_t")),
        (full, "DaemonSet", pod("volumes/3/secret/secretName"), json!("pull")),
        (full, "DaemonSet", pod("nodeSelector/pool"), json!("gpu")),
        (full, "DaemonSet", pod("nodeSelector/zone"), json!("a")),
        (full, "DaemonSet", pod("priorityClassName"), json!("high")),
        (full, "DaemonSet", "/spec/updateStrategy/rollingUpdate/maxUnavailable".into(), json!(3)),
        (
            full,
            "DaemonSet",
            "/spec/template/metadata/annotations".into(),
            json!({ "openshift.io/required-scc": "privileged" }),
        ),
        (full, "RoleBinding", "/subjects/0/name".into(), json!("x")),
        (full, "Deployment", "/metadata/name".into(), json!("x-metrics")),
        (
            full,
            "Deployment",
            pod("containers/0/args"),
            json!(["aggregate-metrics", "--grpc-port=8443", "--http-port=8080"]),
        ),
        (full, "Deployment", pod("containers/0/livenessProbe/httpGet/path"), json!("/healthz")),
        (full, "Service", "/metadata/name".into(), json!("x-metrics")),
        (full, "Service", "/spec/ports/0/port".into(), json!(8080)),
        (full, "Service", "/spec/type".into(), json!("LoadBalancer")),
        (
            "prefetcher x --collect-metrics --metrics-service-type ClusterIP",
            "Service",
            "/spec/type".into(),
            json!("ClusterIP"),
        ),
        ("attach stock", "DaemonSet", "/metadata/name".into(), json!("stock")),
        (
            "attach stock",
            "DaemonSet",
            pod("volumes/0/persistentVolumeClaim"),
            json!({ "claimName": "stock", "readOnly": true }),
        ),
        (
            "attach stock",
            "DaemonSet",
            init("args"),
            json!(["attach", "--disk=/disk", "--mount-namespace=/proc/1/ns/mnt"]),
        ),
        (
            "attach stock",
            "DaemonSet",
            "/spec/updateStrategy/rollingUpdate/maxUnavailable".into(),
            json!("10%"),
        ),
        (
            "attach x --claim stock",
            "DaemonSet",
            pod("volumes/0/persistentVolumeClaim/claimName"),
            json!("stock"),
        ),
        ("attach x --version v9", "DaemonSet", init("image"), json!("docker.io/library/larder:v9")),
        ("attach x --image a.io:5000/b --version v9", "DaemonSet", init("image"), json!("a.io:5000/b:v9")),
    ];
    for (line, kind, pointer, expected) in table {
        assert_eq!(at(&objects(line), kind, &pointer), expected, "{line}: {kind} {pointer}");
    }
}

#[test]
fn the_names_that_results_are_delivered_to_stay_inside_the_cluster() {
    let objects = objects("prefetcher x --collect-metrics");
    let services: Vec<Value> = values(&objects).filter(|value| value["kind"] == "Service").collect();
    let ports =
        |service: &Value| (service["spec"]["type"].clone(), service["spec"]["ports"][0]["port"].clone());
    let seen: Vec<_> = services.iter().map(ports).collect();
    assert_eq!(seen, [(json!("LoadBalancer"), json!(8080)), (json!("ClusterIP"), json!(8443))]);
}

#[test]
fn without_a_namespace_nothing_has_one_or_depends_on_one() {
    for (line, objects) in all().filter(|(line, _)| !line.contains("--namespace")) {
        for value in values(&objects) {
            let kind = value["kind"].as_str().unwrap();
            assert!(!kind.starts_with("Cluster"), "{line}: {kind} is outside all namespaces");
            assert!(!value.to_string().contains(r#""namespace":"#), "{line}: {kind} has a namespace");
        }
    }
}

#[test]
fn with_a_namespace_everything_has_it_and_nodes_are_labelled() {
    let objects = objects("prefetcher x --namespace ns --collect-metrics");
    for value in values(&objects) {
        let cluster = value["kind"].as_str().unwrap().starts_with("Cluster");
        assert_eq!(value["metadata"]["namespace"] == json!("ns"), !cluster, "{value}");
    }
    let subject = json!([{ "kind": "ServiceAccount", "name": "x", "namespace": "ns" }]);
    assert_eq!(at(&objects, "ClusterRoleBinding", "/subjects"), subject);
    assert_eq!(at(&objects, "ClusterRole", "/rules/0/verbs"), json!(["get", "patch"]));
    let environment = at(&objects, "DaemonSet", &format!("{POD}/initContainers/0/env/1"));
    assert_eq!(environment, json!({ "name": "INSTANCE_NAME", "value": "x" }));
}

#[test]
fn no_two_instances_share_a_name() {
    let prefetchers = ["a", "a-metrics", "a-metrics-grpc", "b-a", "a-prefetch"];
    let flags = "v1 ocp --collect-metrics --namespace";
    let mut lines: Vec<String> =
        prefetchers.iter().map(|name| format!("prefetcher {name} {flags} ns")).collect();
    lines.extend(["prefetcher a v1 ocp --collect-metrics --namespace ns-b".to_owned()]);
    lines.extend(["prefetcher b-a v1 ocp --collect-metrics --namespace ns-b".to_owned()]);
    let mut seen = BTreeSet::new();
    for line in &lines {
        for value in values(&objects(line)) {
            let metadata = &value["metadata"];
            let identity =
                (value["kind"].to_string(), metadata["namespace"].to_string(), metadata["name"].to_string());
            assert!(seen.insert(identity.clone()), "{line}: {identity:?} is there already");
        }
    }
}

#[test]
fn no_part_selects_the_pods_of_another() {
    let lines = ["prefetcher a --collect-metrics", "prefetcher b --collect-metrics", "attach a"];
    let all: Vec<Value> = lines.iter().flat_map(|line| values(&objects(line)).collect::<Vec<_>>()).collect();
    let selectors = all.iter().filter_map(|value| value.pointer("/spec/selector/matchLabels"));
    let selectors: Vec<_> = selectors.collect();
    let distinct: BTreeSet<String> = selectors.iter().map(ToString::to_string).collect();
    assert_eq!((distinct.len(), selectors.len()), (5, 5));
}

#[test]
fn another_list_makes_other_pods_and_another_comment_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let template = |text: &str| {
        let list = directory.path().join("list.txt");
        std::fs::write(&list, text).unwrap();
        let objects = objects(&format!("prefetcher x --image-list {}", list.display()));
        assert_eq!(at(&objects, "ConfigMap", "/data"), json!({ "images.txt": text }));
        assert_eq!(at(&objects, "ConfigMap", "/metadata/name"), json!("x"));
        at(&objects, "DaemonSet", "/spec/template")
    };
    let first = template("redis:7\n");
    assert_eq!(first, template("# a cache\r\nredis:7\r\n"));
    assert_ne!(first, template("redis:8\n"));
}

#[test]
fn the_pods_give_larder_only_arguments_that_it_takes() {
    let mut commands = BTreeSet::new();
    for (line, objects) in all() {
        for container in values(&objects).flat_map(|object| containers(&object)) {
            let words: Vec<&str> =
                container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            let typed = Cli::try_parse_from(["larder"].iter().chain(&words));
            assert!(typed.is_ok(), "{line}: {}", typed.unwrap_err());
            commands.insert(words[0].to_owned());
        }
    }
    assert_eq!(commands, COMMANDS.map(str::to_owned).into());
}

fn containers(object: &Value) -> Vec<Value> {
    let lists = ["initContainers", "containers"].map(|list| format!("{POD}/{list}"));
    let lists = lists.iter().filter_map(|list| object.pointer(list)?.as_array());
    lists.flatten().cloned().collect()
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let table = [
        ("prefetcher", "required"),
        ("prefetcher A", "lower-case"),
        ("prefetcher 7a --collect-metrics", "begins with a digit"),
        ("prefetcher a v1 --version v2", "cannot be used with"),
        ("prefetcher a v1 ocp --k8s-flavor vanilla", "cannot be used with"),
        ("prefetcher a v1 aks", "invalid value"),
        ("prefetcher a --image x:1", "give that as the version"),
        ("prefetcher a --node-selector x", "KEY=VALUE"),
        ("prefetcher a --node-selector x=1,x=2", "twice"),
        ("prefetcher a --max-unavailable 0", "from 1"),
        ("prefetcher a --image-list /does/not/exist", "image list /does/not/exist"),
        ("prefetcher a --use-kubelet-image-credential-integration AKS", "invalid value"),
        ("attach", "required"),
        ("attach a v1", "unexpected argument"),
    ];
    for (line, expected) in table {
        let error = format!("{:#}", try_objects(line).unwrap_err());
        assert!(error.contains(expected), "{line}: {error}");
    }
}
