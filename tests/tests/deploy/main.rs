//! `larder deploy`: what it prints, judged by Kubernetes' schemas, by an API server and by systemd.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod server;

use std::fs;
use std::path::{Path, PathBuf};

use larder_tests::larder::larder;
use larder_tests::{kubernetes_schema, systemd};
use tempfile::TempDir;

/// The oldest with a schema, some between, and the newest.
const RELEASES: [&str; 4] = ["1.25", "1.29", "1.33", "1.37"];

/// Command lines without `larder deploy`, and how many objects each prints. Names and values that YAML could take for something
/// else than text are among them.
const VARIANTS: [(&str, usize); 11] = [
    ("prefetcher my-images v0.2.2 vanilla", 2),
    ("prefetcher placed --namespace ns", 4),
    ("prefetcher shift v1 ocp --secret pull", 4),
    ("prefetcher counted --collect-metrics --metrics-service-type NodePort", 5),
    ("prefetcher listed --image-list LIST", 3),
    (
        "prefetcher full --version v1 --k8s-flavor ocp --namespace ns --secret pull --collect-metrics --image-list LIST \
         --max-unavailable 3 --node-selector pool=gpu,zone=a --priority-class high \
         --use-kubelet-image-credential-integration GKE",
        10,
    ),
    (
        "prefetcher on 1e3 vanilla --namespace no --secret 0x1f --priority-class 1e3 --node-selector y=n,x=true,z=1_0,w=",
        4,
    ),
    ("prefetcher null --namespace 012 --collect-metrics --secret 1.5 --node-selector a=0o7,b=2020-01-01", 7),
    ("attach disk", 2),
    (
        "attach whole --claim stock --namespace ns --version v1 --max-unavailable 1 --node-selector pool=gpu",
        2,
    ),
    ("attach shift --k8s-flavor ocp", 4),
];

/// Lines that break naive YAML writers.
const LIST: &str = "# tabs\tand \"quotes\": {braces} - and colons:\r\nredis:7\r\n\n  debian:12  \n";

fn deploy(line: &str) -> String {
    larder(["deploy"].into_iter().chain(line.split_whitespace())).unwrap().done().unwrap()
}

fn manifest(directory: &TempDir, number: usize, text: &str) -> PathBuf {
    let path = directory.path().join(format!("{number}.yaml"));
    fs::write(&path, text).unwrap();
    path
}

/// Those of all variants, in their order.
fn all_manifests(directory: &TempDir) -> Vec<PathBuf> {
    let list = directory.path().join("list.txt");
    fs::write(&list, LIST).unwrap();
    let mut manifests = Vec::new();
    for (number, (line, count)) in VARIANTS.into_iter().enumerate() {
        let text = deploy(&line.replace("LIST", list.to_str().unwrap()));
        assert_eq!(text.matches("\nkind: ").count(), count, "{line}: {text}");
        manifests.push(manifest(directory, number, &text));
    }
    manifests
}

#[test]
fn every_manifest_is_valid_in_every_release_of_kubernetes() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = all_manifests(&directory);
    let manifests: Vec<&Path> = manifests.iter().map(PathBuf::as_path).collect();
    let all: usize = VARIANTS.iter().map(|(_, count)| count).sum();
    for release in RELEASES {
        let passed = kubernetes_schema::validate(&manifests, release).unwrap();
        assert_eq!(passed.len(), all, "{release}: {passed:?}");
        for name in ["daemonset/on", "daemonset/null", "configmap/full", "clusterrole/no:on:node-labeler"] {
            assert!(passed.iter().any(|passed| passed == name), "{release}: no {name} in {passed:?}");
        }
    }
}

#[test]
fn another_reader_of_yaml_reads_names_as_text_and_the_list_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.txt");
    fs::write(&list, LIST).unwrap();
    for name in ["on", "y", "n", "no", "null", "1e3", "0x1f", "012", "0o7", "1-1", "2020-01-01"] {
        let text = deploy(&format!("prefetcher {name} --namespace {name} --image-list {}", list.display()));
        for object in kubernetes_schema::documents(&manifest(&directory, 0, &text)).unwrap() {
            let kind = object["kind"].as_str().unwrap();
            if !kind.starts_with("Cluster") {
                let names = (object["metadata"]["name"].as_str(), object["metadata"]["namespace"].as_str());
                assert_eq!(names, (Some(name), Some(name)), "{kind}");
            }
            if kind == "ConfigMap" {
                assert_eq!(object["data"]["images.txt"].as_str(), Some(LIST));
            }
        }
    }
}

#[test]
fn a_manifest_with_a_wrong_field_or_value_is_found_invalid() {
    let directory = tempfile::tempdir().unwrap();
    let good = deploy("prefetcher x");
    for (from, to) in [
        ("readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: 'yes'"),
        ("name: prefetch\n", "title: prefetch\n"),
        ("kind: DaemonSet", "kind: DaemonSets"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from} is there");
        let manifest = manifest(&directory, 0, &bad);
        kubernetes_schema::validate(&[&manifest], "1.33").expect_err(to);
    }
}

#[test]
fn systemd_takes_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    for unit in ["containerd", "kubelet"] {
        let text = "[Service]\nExecStart=/bin/true\n";
        fs::write(directory.path().join(format!("{unit}.service")), text).unwrap();
    }
    let printed = deploy(&format!("systemd --program /bin/true --output {path}"));
    let names = ["larder-mount.service", "larder-restore.service"];
    assert_eq!(printed, names.map(|name| format!("{path}/{name}\n")).concat());
    systemd::verify(directory.path(), &names).unwrap();

    let unit = directory.path().join(names[0]);
    let text = fs::read_to_string(&unit).unwrap();
    // A unit that is to run both before and after containerd.
    fs::write(&unit, text.replace("After=", "After=containerd.service ")).unwrap();
    systemd::verify(directory.path(), &["containerd.service", names[0]]).expect_err("a cycle");
    fs::write(&unit, text.replace("After=", "Aftr=")).unwrap();
    systemd::verify(directory.path(), &names).expect_err("an unknown key");
}

#[test]
fn what_cannot_be_printed_is_an_error_and_prints_nothing() {
    for (line, status, expected) in [
        ("prefetcher", 2, "<NAME>"),
        ("prefetcher A", 2, "lower-case"),
        ("prefetcher 7a --collect-metrics", 2, "begins with a digit"),
        ("prefetcher a --image-list /does/not/exist", 1, "error: image list /does/not/exist"),
        ("systemd --containerd-unit k3s.service --kubelet-unit k3s.service", 2, "between"),
        ("systemd --output /does/not/exist", 1, "error: write /does/not/exist/larder-mount.service"),
    ] {
        let ran = larder(["deploy"].into_iter().chain(line.split_whitespace())).unwrap();
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(status), ""), "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{line}: {}", ran.stderr);
    }
}
