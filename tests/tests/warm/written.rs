//! What `larder warm` writes.

use kube::api::{Patch, PatchParams};
use larder_api::names;
use larder_tests::kubernetes::ApiServer;
use larder_tests::larder::finished;
use serde_json::json;

use super::cluster::{Space, assert_ended, command_at, end};

#[test]
fn a_cache_is_made_extended_by_what_it_lacks_and_else_left_alone() {
    let space = Space::new("extends");
    assert_ended(&space.larder("warm redis:7 redis:7"), 0, "image cache extends/warm: created\n");
    assert_same_lists(&space, &json!([{ "images": ["redis:7"] }]));
    assert_ended(&space.larder("warm docker.io/library/redis:7"), 0, "unchanged");
    assert_eq!(space.cache("warm").metadata.generation, Some(1));
    let line =
        "warm redis:7 nginx:1 -l pool=web,zone=a --pull-secret s --pull-by job --max-parallel-nodes 10%";
    assert_ended(&space.larder(line), 0, "extended");
    let selected =
        json!({ "images": ["redis:7", "nginx:1"], "nodeSelector": { "pool": "web", "zone": "a" } });
    assert_same_lists(&space, &json!([{ "images": ["redis:7"] }, selected]));
    let spec = serde_json::to_value(space.cache("warm").spec).unwrap();
    assert_eq!((&spec["pullBy"], &spec["maxParallelNodes"]), (&json!("Job"), &json!("10%")));
    assert_eq!(spec["imagePullSecrets"], json!([{ "name": "s" }]));
    assert_ended(&space.larder("warm redis:7 --name other"), 0, "image cache extends/other: created");
}

fn assert_same_lists(space: &Space, expected: &serde_json::Value) {
    assert_eq!(space.lists("warm"), *expected);
}

#[test]
fn of_many_at_the_same_time_nobodys_images_are_lost() {
    let space = Space::new("crowd");
    let begun: Vec<_> = (0..6).map(|number| space.begin(&format!("warm a.io/b:{number}"))).collect();
    for child in begun {
        assert_ended(&end(child), 0, "image cache crowd/warm");
    }
    let mut images = space.cache("warm").spec.cache_spec.remove(0).images;
    images.sort();
    assert_eq!(images, (0..6).map(|number| format!("a.io/b:{number}")).collect::<Vec<_>>());
}

#[test]
fn a_purged_cache_is_refreshed() {
    let space = Space::new("purged");
    space.make("warm", &json!({}));
    let purged = Patch::Merge(json!({ "status": { "purgedGeneration": 1 } }));
    space.server.wait(space.caches().patch_status("warm", &PatchParams::default(), &purged)).unwrap();
    assert_ended(&space.larder("warm redis:7"), 0, "refreshed");
    let annotations = space.cache("warm").metadata.annotations.unwrap();
    assert!(annotations[names::REFRESH].starts_with("warm-"), "{annotations:?}");
}

#[test]
fn a_cache_is_dropped_and_one_that_is_being_deleted_is_left_alone() {
    let space = Space::new("drops");
    assert_ended(&space.larder("warm --rm"), 1, "error: image cache drops/warm does not exist");
    space.make("warm", &json!({ "finalizers": [names::FINALIZER] }));
    assert_ended(&space.larder("warm --rm"), 0, "image cache drops/warm: dropped");
    assert_ended(&space.larder("warm redis:7"), 1, "image cache drops/warm: it is being deleted");
    let waiting = space.begin("warm --rm --wait");
    assert_ended(&space.larder("warm --rm --wait --timeout 1s"), 1, "not done after 1 s");
    let released = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    space.server.wait(space.caches().patch("warm", &PatchParams::default(), &released)).unwrap();
    assert_ended(&end(waiting), 0, "");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_written() {
    let space = Space::new("refuses");
    let table = [
        ("warm", "required"),
        ("warm Redis:7", "Redis:7"),
        ("warm redis:7 -l pool", "KEY=VALUE"),
        ("warm redis:7 -l a=1,a=2", "twice"),
        ("warm redis:7 --name A", "lower-case"),
        ("warm redis:7 --max-parallel-nodes 0", "from 1"),
        ("warm redis:7 --timeout soon", "such as 20s"),
        ("warm redis:7 --rm", "cannot be used with"),
        ("status web -A", "cannot be used with"),
        ("status --node --watch", "cannot be used with"),
        ("status --containerd /run/x.sock", "are for --node"),
    ];
    for (line, said) in table {
        assert_ended(&space.larder(line), 2, said);
    }
    assert_ended(&space.larder("status"), 0, "there are no image caches");
}

#[test]
fn without_an_api_server_the_status_is_3_and_without_definitions_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let cluster = json!({ "server": "https://127.0.0.1:1" });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{ "name": "a", "user": {} }],
        "clusters": [{ "name": "a", "cluster": cluster }],
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let nowhere = directory.path().join("nowhere");
    for line in
        ["warm redis:7", "warm redis:7 --wait", "warm --rm", "status", "status --watch", "release-caches"]
    {
        for (file, said) in
            [(&kubeconfig, "error: no API server answers"), (&nowhere, "error: no API server: ")]
        {
            assert_ended(&finished(&mut command_at(file, line)).unwrap(), 3, said);
        }
    }
    let ran = finished(command_at(&kubeconfig, "status").args(["--context", "other"])).unwrap();
    assert_ended(&ran, 3, "other");
    let server = ApiServer::start().unwrap();
    for line in ["warm redis:7", "warm --rm", "status", "status --watch"] {
        let ran = finished(&mut command_at(server.kubeconfig(), line)).unwrap();
        assert_ended(&ran, 1, "the cluster does not know ImageCaches: install Larder first");
    }
    assert_ended(&finished(&mut command_at(server.kubeconfig(), "release-caches")).unwrap(), 0, "");
}
