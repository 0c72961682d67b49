//! The install: the chart, what is rendered from it under deploy/, and what a real API server says to both.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod applied;
mod least;
mod rendered;
mod rights;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use larder_tests::chart::{Chart, Release};
use serde_json::Value;

/// What deploy/ has is this installation of the chart.
const RELEASE: Release = Release { name: "larder", namespace: "larder-system" };

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn chart() -> Chart {
    Chart::new(&deploy().join("charts/larder"), RELEASE)
}

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(deploy().join("charts/larder/examples")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The chart's objects that Helm keeps: without its hooks, and without its own annotations.
fn installed(values: Option<&Path>) -> Vec<Value> {
    let objects = chart().render(values).unwrap().into_iter();
    objects.filter(|object| !is_hook(object)).map(without_helm).collect()
}

fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

fn without_helm(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !name.starts_with("helm.sh/"));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    object
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

fn component(object: &Value) -> &str {
    object["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap_or_default()
}

/// By API version, kind, namespace and name; two of the same are a mistake.
fn by_identity(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let identity = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {} {} {}", object["apiVersion"], object["kind"], metadata["namespace"], metadata["name"])
    };
    let map: BTreeMap<_, _> = objects.into_iter().map(|object| (identity(&object), object)).collect();
    assert_eq!(map.len(), count, "two objects of one name: {:?}", map.keys());
    map
}
