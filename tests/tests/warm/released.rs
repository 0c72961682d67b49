//! What `larder release-caches` leaves.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::PostParams;
use larder_api::names;
use serde_json::json;

use super::cluster::{Space, assert_ended, object};

#[test]
fn the_controller_is_stopped_and_every_cache_is_without_its_finalizer_and_still_there() {
    let space = Space::alone("releases");
    space.make("ours", &json!({ "finalizers": [names::FINALIZER, "example.com/other"] }));
    space.make("others", &json!({}));
    let labels = json!({ "a": "b" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let deployment: Deployment = object(json!({ "metadata": { "name": "controller" },
        "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": template } }));
    let deployments: Api<Deployment> = Api::namespaced(space.server.client().unwrap(), space.name);
    space.server.wait(deployments.create(&PostParams::default(), &deployment)).unwrap();

    let ran = space.larder("release-caches --controller controller");
    assert_ended(&ran, 0, "image cache releases/ours: released\n");
    assert_eq!(ran.stdout.matches("released").count(), 1, "{ran:?}");
    let deployment = space.server.wait(deployments.get("controller")).unwrap();
    assert_eq!(deployment.spec.unwrap().replicas, Some(0));
    assert_eq!(space.cache("ours").metadata.finalizers.unwrap(), ["example.com/other"]);
    assert_eq!(space.cache("others").metadata.finalizers, None);
    assert_ended(&space.larder("release-caches --controller gone --timeout 1s"), 1, "not done after 1 s");
}
