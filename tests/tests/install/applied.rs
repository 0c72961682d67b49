//! The install on a real API server, which may be older than some of its kinds.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::discovery::{Discovery, Scope};
use larder_api::without_validation_rules;
use larder_tests::kubectl;
use larder_tests::kubernetes::ApiServer;
use serde_json::Value;

use super::{chart, deploy, examples, installed, is_hook, kind};

/// The kinds of the install that 1.20 does not have.
const SINCE_1_21: [&str; 3] =
    ["PodDisruptionBudget", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
/// The Prometheus operator's.
const FOREIGN: [&str; 2] = ["PrometheusRule", "ServiceMonitor"];

/// What kubectl does with `apply --server-side`. The kinds that the server does not have are left out, and returned.
pub(super) fn apply(server: &ApiServer, objects: Vec<Value>) -> BTreeSet<String> {
    let discovery = server.wait(Discovery::new(server.client().unwrap()).run()).unwrap();
    let mut unknown = BTreeSet::new();
    for object in objects {
        let object =
            if kind(&object) == "CustomResourceDefinition" { as_taken(server, object) } else { object };
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let gvk = kube::core::GroupVersionKind::try_from(&types).unwrap();
        let Some((resource, capabilities)) = discovery.resolve_gvk(&gvk) else {
            unknown.insert(types.kind);
            continue;
        };
        let client = server.client().unwrap();
        let name = object.metadata.name.clone().unwrap();
        let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client, namespace, &resource),
            (Scope::Cluster, None) => Api::all_with(client, &resource),
            (scope, namespace) => {
                unreachable!("{} {name}: {scope:?}, but namespace {namespace:?}", types.kind)
            }
        };
        let params = PatchParams::apply("install").force();
        let applied = server.wait(api.patch(&name, &params, &Patch::Apply(&object)));
        assert!(applied.is_ok(), "{} {name}: {applied:?}", types.kind);
    }
    unknown
}

/// CRDs have CEL rules since 1.25; a server that does not know them refuses the field.
fn as_taken(server: &ApiServer, definition: Value) -> Value {
    let version = server.wait(server.client().unwrap().apiserver_version()).unwrap();
    if version.minor.trim_end_matches('+').parse::<u32>().unwrap() >= 25 {
        return definition;
    }
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    serde_json::to_value(without_validation_rules(definition)).unwrap()
}

fn namespace(server: &ApiServer, name: &str) {
    let object = serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    apply(server, vec![object]);
}

#[test]
fn everything_applies_to_a_real_server_but_for_the_kinds_that_it_lacks() {
    let server = ApiServer::start().unwrap();
    let lacking = apply(&server, kubectl::kustomize(&deploy()).unwrap());
    assert!(lacking.iter().all(|kind| SINCE_1_21.contains(&kind.as_str())), "{lacking:?}");
    for name in ["shop", "search"] {
        namespace(&server, name);
    }
    let mut hooks = chart().render(None).unwrap();
    hooks.retain(is_hook);
    assert_eq!((hooks.len(), apply(&server, hooks).len()), (6, 0));
    for values in examples() {
        let lacking = apply(&server, installed(Some(&values)));
        let known = |kind: &&String| !SINCE_1_21.iter().chain(&FOREIGN).any(|other| other == kind);
        assert_eq!(lacking.iter().find(known), None, "{}", values.display());
    }
}

#[test]
fn applying_twice_changes_nothing() {
    let server = ApiServer::start().unwrap();
    let objects = kubectl::kustomize(&deploy()).unwrap();
    apply(&server, objects.clone());
    let before = generations(&server);
    assert!(before.len() > 1, "{before:?}");
    apply(&server, objects);
    assert_eq!(generations(&server), before);
}

fn generations(server: &ApiServer) -> Vec<(String, Option<String>)> {
    use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
    let namespace = super::RELEASE.namespace;
    let version = |metadata: kube::core::ObjectMeta| (metadata.name.unwrap(), metadata.resource_version);
    let deployments: Api<Deployment> = Api::namespaced(server.client().unwrap(), namespace);
    let sets: Api<DaemonSet> = Api::namespaced(server.client().unwrap(), namespace);
    let deployments = server.wait(deployments.list(&kube::api::ListParams::default())).unwrap();
    let sets = server.wait(sets.list(&kube::api::ListParams::default())).unwrap();
    let deployments = deployments.items.into_iter().map(|deployment| version(deployment.metadata));
    deployments.chain(sets.items.into_iter().map(|set| version(set.metadata))).collect()
}
