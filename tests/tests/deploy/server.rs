//! The manifests given to a real API server, the oldest that the lab has: what it stores is what was printed.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use larder_tests::kubernetes::ApiServer;
use larder_tests::kubernetes_schema;
use serde_json::{Value, json};

use super::{VARIANTS, all_manifests};

/// Applies one object as `kubectl apply --server-side` does, and returns what is stored.
async fn apply(client: Client, namespace: &str, object: &Value) -> kube::Result<Value> {
    let text = |field: &Value| field.as_str().unwrap().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let objects: Api<DynamicObject> = if kind.starts_with("Cluster") {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, namespace, &resource)
    };
    let parameters = PatchParams::apply("larder-test");
    let stored =
        objects.patch(&text(&object["metadata"]["name"]), &parameters, &Patch::Apply(object)).await?;
    Ok(serde_json::to_value(stored).unwrap())
}

/// The fields of `printed` that `stored` lacks or has otherwise, without the places in lists.
fn lost(printed: &Value, stored: &Value, path: &str) -> BTreeSet<String> {
    match (printed, stored) {
        (Value::Object(fields), Value::Object(_)) => fields
            .iter()
            .flat_map(|(name, value)| lost(value, &stored[name], &format!("{path}.{name}")))
            .collect(),
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            items.iter().zip(others).flat_map(|(item, other)| lost(item, other, path)).collect()
        }
        _ if printed == stored => BTreeSet::new(),
        _ => [path.to_owned()].into(),
    }
}

/// Without what tells of the write itself.
fn content(mut stored: Value) -> Value {
    for field in ["resourceVersion", "managedFields"] {
        stored["metadata"][field].take();
    }
    stored
}

#[test]
fn an_old_api_server_takes_every_manifest_and_applying_it_again_changes_nothing() {
    let server = ApiServer::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut dropped = BTreeSet::new();
    for (number, (line, manifest)) in VARIANTS.iter().zip(all_manifests(&directory)).enumerate() {
        let objects = kubernetes_schema::documents(&manifest).unwrap();
        let named = objects.iter().find_map(|object| object["metadata"]["namespace"].as_str());
        let namespace = named.map_or_else(|| format!("variant-{number}"), str::to_owned);
        make_namespace(&server, &namespace);
        for object in &objects {
            let stored = || {
                let applied = server.wait(apply(server.client().unwrap(), &namespace, object));
                applied.unwrap_or_else(|error| panic!("{} of {}: {error}", object["kind"], line.0))
            };
            let first = stored();
            let kind = object["kind"].as_str().unwrap();
            dropped.extend(lost(object, &first, kind));
            let again = stored();
            assert_eq!(content(first), content(again), "{kind} of {}", line.0);
        }
    }
    assert_eq!(dropped, BTreeSet::new(), "fields that it does not know");
}

#[test]
fn an_api_server_refuses_a_manifest_with_a_wrong_value() {
    let server = ApiServer::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let manifest = all_manifests(&directory).swap_remove(0);
    let objects = kubernetes_schema::documents(&manifest).unwrap();
    let mut object = objects.into_iter().find(|object| object["kind"] == "DaemonSet").unwrap();
    object["spec"]["template"]["spec"]["initContainers"][0]["name"] = json!("Prefetch");
    let error = server.wait(apply(server.client().unwrap(), "default", &object)).unwrap_err();
    assert!(error.to_string().contains("initContainers[0].name"), "{error}");
}

/// One namespace may be several variants'.
fn make_namespace(server: &ApiServer, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    let namespaces: Api<Namespace> = Api::all(server.client().unwrap());
    match server.wait(namespaces.create(&PostParams::default(), &namespace)) {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        created => drop(created.unwrap()),
    }
}
