//! The real controller with exactly the rights that the install gives it: it does its work, and nothing is forbidden.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use larder_api::{ImageCache, NodeImageSet};
use larder_tests::kubernetes::ApiServer;
use larder_tests::larder;
use larder_tests::process::{Daemon, until};
use larder_tests::workdir::Workdir;
use serde_json::{Value, json};

use super::{applied, deploy, kind};

const LIMIT: Duration = Duration::from_mins(1);
const CONTROLLER: &str = "system:serviceaccount:larder-system:larder-controller";

/// The controller of deploy/, with its own arguments, as its service account.
fn controller(server: &ApiServer, dir: &Workdir) -> Daemon {
    let mut config: Value = serde_json::from_slice(&fs::read(server.kubeconfig()).unwrap()).unwrap();
    config["users"][0]["user"]["as"] = json!(CONTROLLER);
    let kubeconfig = dir.join("kubeconfig");
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let objects = larder_tests::kubectl::kustomize(&deploy()).unwrap();
    let deployment = objects.iter().find(|object| kind(object) == "Deployment").unwrap();
    let words = deployment.pointer("/spec/template/spec/containers/0/args").unwrap();
    let words: Vec<String> = serde_json::from_value(words.clone()).unwrap();
    let mut command = larder::command().unwrap();
    command.env("KUBECONFIG", kubeconfig);
    command.args(words.iter().map(|word| word.replace("0.0.0.0:8080", "127.0.0.1:0")));
    Daemon::spawn(&command, &dir.join("controller.log")).unwrap()
}

#[test]
fn the_controller_needs_no_right_that_it_does_not_have() {
    let server = ApiServer::start().unwrap();
    applied::apply(&server, larder_tests::kubectl::kustomize(&deploy()).unwrap());
    let dir = Workdir::new().unwrap();
    let client = || server.client().unwrap();
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n1" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }))
    .unwrap();
    server.wait(Api::<Node>::all(client()).create(&PostParams::default(), &node)).unwrap();
    let _controller = controller(&server, &dir);
    let (caches, sets): (Api<ImageCache>, Api<NodeImageSet>) =
        (Api::default_namespaced(client()), Api::all(client()));
    let cache: ImageCache =
        serde_json::from_value(json!({ "apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
        "metadata": { "name": "web" }, "spec": { "cacheSpec": [{ "images": ["redis:7"] }] } }))
        .unwrap();
    server.wait(caches.create(&PostParams::default(), &cache)).unwrap();
    until("the set is there", LIMIT, || Ok(server.wait(sets.get("n1")).map(drop)?)).unwrap();
    let seen = json!([{ "image": "docker.io/library/redis:7", "phase": "Warm", "source": "Pulled",
        "verifiedAt": "2999-01-02T03:04:05Z" }]);
    let status = Patch::Merge(json!({ "status": { "observedGeneration": 1, "images": seen } }));
    server.wait(sets.patch_status("n1", &PatchParams::default(), &status)).unwrap();
    until("node and cache are called warm", LIMIT, || {
        let node = server.wait(Api::<Node>::all(client()).get("n1"))?;
        anyhow::ensure!(
            node.metadata.labels.is_some_and(|labels| labels.contains_key(larder_api::names::NODE_WARM))
        );
        Ok(())
    })
    .unwrap();
    server.wait(caches.delete("web", &DeleteParams::default())).unwrap();
    until("the image is to leave the node", LIMIT, || {
        let set = server.wait(sets.get("n1"))?;
        let token = set.spec.images.first().and_then(|image| image.purge.clone());
        let seen = json!([{ "image": "docker.io/library/redis:7", "phase": "Removed", "purge": token }]);
        let status = Patch::Merge(
            json!({ "status": { "observedGeneration": set.metadata.generation, "images": seen } }),
        );
        server.wait(sets.patch_status("n1", &PatchParams::default(), &status))?;
        anyhow::ensure!(server.wait(caches.get_opt("web"))?.is_none(), "the cache is still there");
        Ok(())
    })
    .unwrap();
    server.wait(Api::<Node>::all(client()).delete("n1", &DeleteParams::default())).unwrap();
    until("the set goes with its node", LIMIT, || {
        anyhow::ensure!(server.wait(sets.get_opt("n1"))?.is_none(), "the set is still there");
        Ok(())
    })
    .unwrap();
    let leases: Api<Lease> = Api::namespaced(client(), "larder-system");
    server.wait(leases.get("larder-controller")).unwrap();
    let events: Api<Event> = Api::default_namespaced(client());
    assert!(!server.wait(events.list(&ListParams::default())).unwrap().items.is_empty());
    let log = fs::read_to_string(dir.join("controller.log")).unwrap();
    assert!(!log.contains("forbidden"), "{log}");
}
