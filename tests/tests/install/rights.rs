//! Who may do what, as the API server's authoriser says it of the rules that the chart with the tenants' example installs.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use larder_tests::kubernetes::ApiServer;
use larder_tests::process::until;
use serde_json::{Value, json};

use super::{applied, deploy, installed, kind};

const LIMIT: Duration = Duration::from_secs(30);
const CONTROLLER: &str = "system:serviceaccount:larder-system:larder-controller";
const AGENT: &str = "system:serviceaccount:larder-system:larder-agent";

/// User, verb, `resource.group/name` (subresource behind a colon), namespace ("" for all or none), and whether that is allowed.
const TABLE: [(&str, &str, &str, &str, bool); 28] = [
    (CONTROLLER, "patch", "imagecaches.kubefledged.io:status", "shop", true),
    (CONTROLLER, "patch", "imagecaches.kubefledged.io", "shop", true),
    (CONTROLLER, "create", "imagecaches.kubefledged.io", "shop", false),
    (CONTROLLER, "delete", "imagecaches.kubefledged.io", "shop", false),
    (CONTROLLER, "create", "nodeimagesets.kubefledged.io", "", true),
    (CONTROLLER, "delete", "nodeimagesets.kubefledged.io", "", true),
    (CONTROLLER, "patch", "nodes:status", "", true),
    (CONTROLLER, "patch", "nodes", "", false),
    (CONTROLLER, "create", "jobs.batch", "shop", false),
    (CONTROLLER, "list", "pods", "", false),
    (CONTROLLER, "patch", "nodeimagesets.kubefledged.io:status", "", false),
    (CONTROLLER, "create", "pods", "shop", false),
    (CONTROLLER, "get", "secrets/registry", "shop", false),
    (CONTROLLER, "patch", "leases.coordination.k8s.io/larder-controller", "larder-system", true),
    (CONTROLLER, "patch", "leases.coordination.k8s.io/other", "larder-system", false),
    (CONTROLLER, "get", "leases.coordination.k8s.io/larder-controller", "kube-system", false),
    (AGENT, "watch", "nodeimagesets.kubefledged.io", "", true),
    (AGENT, "patch", "nodeimagesets.kubefledged.io:status", "", true),
    (AGENT, "patch", "nodeimagesets.kubefledged.io", "", false),
    (AGENT, "list", "imagecaches.kubefledged.io", "", false),
    (AGENT, "patch", "nodes", "", false),
    (AGENT, "patch", "nodes:status", "", false),
    (AGENT, "get", "secrets/registry", "shop", true),
    (AGENT, "get", "secrets/registry", "search", true),
    (AGENT, "get", "secrets/registry", "larder-system", false),
    (AGENT, "get", "secrets/other", "shop", false),
    (AGENT, "list", "secrets", "shop", false),
    (AGENT, "create", "pods", "larder-system", false),
];

fn attributes(verb: &str, what: &str, namespace: &str) -> Value {
    let (what, name) = what.split_once('/').unwrap_or((what, ""));
    let (what, subresource) = what.split_once(':').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    json!({ "verb": verb, "resource": resource, "group": group, "subresource": subresource, "name": name, "namespace": namespace })
}

#[test]
fn nobody_may_do_more_than_the_table_says() {
    let server = ApiServer::start().unwrap();
    let mut objects = installed(Some(&deploy().join("charts/larder/examples/tenants.yaml")));
    objects.retain(|object| {
        object["apiVersion"].as_str().unwrap().starts_with("rbac.") || kind(object) == "ServiceAccount"
    });
    let namespaces = ["larder-system", "shop", "search"];
    let namespace = |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    applied::apply(&server, namespaces.map(namespace).into());
    applied::apply(&server, objects);
    let reviews: Api<SubjectAccessReview> = Api::all(server.client().unwrap());
    for (user, verb, what, namespace, expected) in TABLE {
        let spec = json!({ "user": user, "resourceAttributes": attributes(verb, what, namespace) });
        let review: SubjectAccessReview = serde_json::from_value(json!({ "spec": spec })).unwrap();
        let asked = || {
            let answer = server.wait(reviews.create(&PostParams::default(), &review))?;
            let allowed = answer.status.unwrap().allowed;
            anyhow::ensure!(allowed == expected, "{user} {verb} {what} in {namespace:?}: {allowed}");
            Ok(())
        };
        // The authoriser learns of new roles a moment later.
        until("the rules are known", LIMIT, asked).unwrap();
    }
}
