//! What the chart renders, and that deploy/ is that.

use std::fs;
use std::path::{Path, PathBuf};

use larder_tests::{kubectl, kubernetes_schema};
use serde_json::Value;

use super::{by_identity, chart, component, deploy, examples, installed, kind};

const HEADER: &str =
    "# Generated from charts/larder by `LARDER_UPDATE=1 cargo test -p larder-tests --test install`.\n";
/// What goes into which file: the component, the file, and the values of another example than the chart's own.
const FILES: [(&str, &str, Option<&str>); 5] = [
    ("controller", "base/controller.yaml", None),
    ("agent", "base/agent.yaml", None),
    ("users", "base/users.yaml", None),
    ("policy", "policy/policy.yaml", None),
    ("monitoring", "monitoring/monitoring.yaml", Some("monitoring")),
];
/// Since its first release of `ValidatingAdmissionPolicy`, some between, and the newest.
const RELEASES: [&str; 4] = ["1.30", "1.33", "1.35", "1.37"];
/// The Prometheus operator's, of which Kubernetes has no schema.
const FOREIGN: [&str; 2] = ["ServiceMonitor", "PrometheusRule"];

fn example(name: &str) -> PathBuf {
    deploy().join(format!("charts/larder/examples/{name}.yaml"))
}

fn documents(objects: &[Value]) -> String {
    let document = |object| format!("---\n{}", serde_saphyr::to_string(object).unwrap());
    objects.iter().map(document).collect()
}

#[test]
fn the_manifests_under_deploy_are_those_of_the_chart() {
    for (name, file, values) in FILES {
        let mut objects = installed(values.map(example).as_deref());
        objects.retain(|object| component(object) == name);
        assert!(!objects.is_empty(), "the chart has nothing of {name}");
        let (path, text) = (deploy().join(file), format!("{HEADER}{}", documents(&objects)));
        if std::env::var_os("LARDER_UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            committed, text,
            "{file} is stale: LARDER_UPDATE=1 cargo test -p larder-tests --test install"
        );
    }
}

#[test]
fn kustomize_and_the_chart_install_the_same_objects() {
    for (directory, values) in [(".", None), ("overlays/job", Some("job-mode"))] {
        let mut kustomized = kubectl::kustomize(&deploy().join(directory)).unwrap();
        kustomized.retain(|object| kind(object) != "Namespace");
        let charted = installed(values.map(example).as_deref());
        assert_eq!(by_identity(kustomized), by_identity(charted), "{directory}");
    }
}

#[test]
fn without_agents_no_pod_has_anything_of_its_node() {
    let objects = kubectl::kustomize(&deploy().join("overlays/job")).unwrap();
    assert!(objects.iter().any(|object| kind(object) == "Deployment"));
    for object in &objects {
        assert_ne!(component(object), "agent", "{object}");
        assert!(
            kind(object) == "CustomResourceDefinition" || !object.to_string().contains("hostPath"),
            "{object}"
        );
    }
}

#[test]
fn every_object_of_every_example_is_valid_in_every_release_of_kubernetes() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifests = Vec::new();
    let mut count = 0;
    let with_defaults = std::iter::once(None);
    for values in with_defaults.chain(examples().into_iter().map(Some)) {
        let mut objects = chart().render(values.as_deref()).unwrap();
        objects.retain(|object| !FOREIGN.contains(&kind(object)));
        count += objects.len();
        let name = values.as_deref().and_then(Path::file_stem).unwrap_or_default();
        let path = directory.path().join(name).with_extension("checked.yaml");
        fs::write(&path, documents(&objects)).unwrap();
        manifests.push(path);
    }
    let manifests: Vec<&Path> = manifests.iter().map(PathBuf::as_path).collect();
    for release in RELEASES {
        let passed = kubernetes_schema::validate(&manifests, release).unwrap();
        assert_eq!(passed.len(), count, "{release}: {passed:?}");
    }
}

#[test]
fn every_example_changes_something() {
    let default = installed(None);
    for values in examples() {
        assert_ne!(installed(Some(&values)), default, "{}", values.display());
    }
}
