//! What `larder status` shows.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use larder_tests::kubectl;
use larder_tests::larder::{binary, finished};
use larder_tests::process::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::cluster::{LIMIT, Space, assert_ended, command_at, end, object};

#[test]
fn the_status_is_that_of_the_caches_and_of_their_nodes() {
    let space = Space::new("shows");
    space.make("web", &json!({}));
    space.make("db", &json!({}));
    space.report("shows-1", "web", &[("docker.io/library/redis:7", "Pulling", Some(40))]);
    space.report("shows-2", "web", &[("docker.io/library/redis:7", "Warm", None)]);
    space.judge("web", Some(1), &[("Ready", "True")]);

    let ran = space.larder("status");
    assert_ended(&ran, 1, "NAMESPACE  NAME  READY  NODES  IMAGES  REASON            MESSAGE\n");
    assert_ended(&ran, 1, "shows      db    no     -      1       -                 -\n");
    assert_ended(&ran, 1, "shows      web   yes    2/2    1       ImageCacheCreate  -\n");
    assert_ended(&ran, 1, "docker.io/library/redis:7  Pulling  40 %  -\n");
    assert_ended(&ran, 1, "shows/web  shows-2  1/1\n");
    assert_ended(&space.larder("status web"), 0, "shows-1");
    assert_ended(&space.larder("status nobody"), 1, "error: image cache shows/nobody does not exist");

    let all = space.server.kubeconfig();
    let ran = finished(&mut command_at(all, "status -A -o json")).unwrap();
    let views: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let web = views.iter().find(|view| view["namespace"] == "shows" && view["name"] == "web").unwrap();
    assert_eq!((&web["ready"], &web["nodes"]["wanted"]), (&json!(true), &json!(2)));
    let image = json!({ "image": "docker.io/library/redis:7", "phase": "Pulling", "percent": 40 });
    assert_eq!(web["byNode"][0], json!({ "node": "shows-1", "images": [image] }));
    assert_ended(&space.larder("status web -o yaml"), 0, "phase: Pulling");
}

#[test]
fn a_watch_tells_of_every_change_until_it_is_ended() {
    let space = Space::new("watches");
    space.make("web", &json!({}));
    let mut watching = space.begin("status --watch -o json");
    let mut values = BufReader::new(watching.stdout.take().unwrap());
    let mut next = || {
        let mut text = String::new();
        while serde_json::from_str::<Value>(&text).is_err() {
            assert_ne!(values.read_line(&mut text).unwrap(), 0, "{text}");
        }
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(next()[0]["ready"], json!(false));
    space.judge("web", Some(1), &[("Ready", "True")]);
    assert_eq!(next()[0]["ready"], json!(true));
    space.report("watches-1", "web", &[("docker.io/library/redis:7", "Warm", None)]);
    while next()[0]["byNode"][0]["images"][0]["phase"] != "Warm" {}
    space.server.wait(space.caches().delete("web", &DeleteParams::default())).unwrap();
    assert_eq!(next(), json!([]));
    kill_process(Pid::from_child(&watching), Signal::TERM).unwrap();
    assert_ended(&end(watching), 130, "interrupted");
}

#[test]
fn who_may_not_see_nodes_sees_the_caches() {
    let space = Space::new("tenant");
    space.make("web", &json!({}));
    space.report("tenant-1", "web", &[("docker.io/library/redis:7", "Warm", None)]);
    space.judge("web", Some(1), &[("Ready", "True")]);
    let rules = json!([{ "apiGroups": ["kubefledged.io"], "resources": ["imagecaches"], "verbs": ["get", "list", "watch"] }]);
    let role: Role = object(json!({ "metadata": { "name": "tenant" }, "rules": rules }));
    let binding: RoleBinding = object(json!({
        "metadata": { "name": "tenant" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant" }],
    }));
    let client = || space.server.client().unwrap();
    space.server.wait(Api::namespaced(client(), space.name).create(&PostParams::default(), &role)).unwrap();
    space
        .server
        .wait(Api::namespaced(client(), space.name).create(&PostParams::default(), &binding))
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let mut config: Value = serde_json::from_slice(&fs::read(space.server.kubeconfig()).unwrap()).unwrap();
    config["users"][0]["user"]["as"] = json!("tenant");
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let status = |line| finished(command_at(&kubeconfig, line).args(["-n", space.name])).unwrap();
    let seen = || {
        let ran = status("status");
        anyhow::ensure!(ran.status == Some(0), "{ran:?}");
        Ok(ran)
    };
    let ran = until("the role is known", LIMIT, seen).unwrap();
    assert!(ran.stdout.contains("2/2") && !ran.stdout.contains("tenant-1"), "{ran:?}");
    assert!(ran.stderr.contains("nodes cannot be shown"), "{ran:?}");
    assert_ended(&status("warm redis:7"), 1, "cannot create image cache tenant/warm");
    let waited = finished(command_at(&kubeconfig, "status --watch -o json").args(["-n", "other"])).unwrap();
    assert_ended(&waited, 1, "cannot list image caches");
}

#[test]
fn kubectl_finds_it_as_its_plugin() {
    let space = Space::new("plugin");
    let directory = tempfile::tempdir().unwrap();
    symlink(binary().unwrap(), directory.path().join("kubectl-larder")).unwrap();
    let kubectl = |line: &str| {
        let mut command = kubectl::command().unwrap();
        command.env("PATH", directory.path()).env("KUBECONFIG", space.server.kubeconfig());
        finished(command.args(line.split_whitespace())).unwrap()
    };
    assert_ended(&kubectl("larder warm redis:7 -n plugin"), 0, "image cache plugin/warm: created");
    assert_ended(&kubectl("larder status -n plugin"), 1, "plugin");
    assert_ended(&kubectl("larder warm --help"), 0, "Usage: kubectl larder warm");
}
