//! `larder controller` against a real API server, with agents that play their part.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

#[path = "controller/faults.rs"]
mod faults;
#[path = "controller/purge.rs"]
mod purge;
#[path = "controller/replicas.rs"]
mod replicas;

use std::time::Duration;

use anyhow::{Result, ensure};
use larder_api::{ImageCacheStatus, names};
use larder_tests::kubernetes::{Agents, Cluster, Controller};
use larder_tests::larder::larder;
use larder_tests::process::until;
use serde_json::{Value, json};

/// For what takes a second or two on an idle machine.
const SOON: Duration = Duration::from_secs(40);

fn images(images: &[&str]) -> Value {
    json!({ "cacheSpec": [{ "images": images }] })
}

fn condition(status: &ImageCacheStatus, kind: &str) -> String {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map(|condition| format!("{} {}", condition.status, condition.reason)).unwrap_or_default()
}

/// Waits until a cache's status and reason are these.
fn told(cluster: &Cluster, cache: &str, status: &str, reason: &str) -> ImageCacheStatus {
    let probe = || {
        let seen = cluster.status(cache)?;
        let (is, why) = (seen.status.as_deref(), seen.reason.as_deref());
        ensure!(is == Some(status) && why == Some(reason), "{cache} is {seen:?}");
        Ok(seen)
    };
    until(&format!("{cache} is {status} by {reason}"), SOON, probe).unwrap()
}

/// Waits until a node is to hold this.
fn held(cluster: &Cluster, node: &str, expected: &[&str]) {
    let probe = || -> Result<()> {
        let held = cluster.held(node)?;
        ensure!(held == expected, "{node} is to hold {held:?}");
        Ok(())
    };
    until(&format!("{node} is to hold {expected:?}"), SOON, probe).unwrap();
}

fn start(cluster: &Cluster, flags: &[&str]) -> Controller {
    Controller::start(cluster.server.kubeconfig(), "the-one", flags).unwrap()
}

#[test]
fn the_documents_manifest_becomes_ready_node_by_node_and_then_nothing_is_written() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("a1", "asia-south1-a").unwrap();
    let document = include_str!("../../crates/larder-api/tests/document.yaml");
    let document: Value = serde_json::to_value(serde_saphyr::from_str::<Value>(document).unwrap()).unwrap();
    cluster.apply("imagecache", &document["spec"]).unwrap();
    let _controller = start(&cluster, &[]);
    let agents = Agents::start(&cluster).unwrap();
    let status = told(&cluster, "imagecache", "Succeeded", "ImageCacheCreate");
    assert_eq!(
        status.message.as_deref(),
        Some("All requested images pulled succesfully to respective nodes")
    );
    assert_eq!(condition(&status, "Ready"), "True Warm");
    assert_eq!((status.images, status.nodes_ready.as_deref()), (Some(6), Some("1/1")));
    assert_eq!(cluster.held("a1").unwrap().len(), 4);

    cluster.add_node("b1", "asia-south1-b").unwrap();
    until("the new node is warm", SOON, || {
        ensure!(cluster.status("imagecache")?.nodes_ready.as_deref() == Some("2/2"), "not yet");
        let node = cluster.node("b1")?;
        ensure!(
            node.metadata.labels.unwrap_or_default().get(names::NODE_WARM).map(String::as_str)
                == Some("true")
        );
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let warm = conditions.iter().find(|condition| condition.type_ == names::NODE_CONDITION);
        ensure!(warm.is_some_and(|condition| condition.status == "True"), "{warm:?}");
        ensure!(conditions.len() == 2, "the kubelet's own are left alone: {conditions:?}");
        Ok(())
    })
    .unwrap();
    cluster.remove_node("a1").unwrap();
    held(&cluster, "a1", &[]);

    drop(agents);
    let version = || {
        let cache = cluster.cache("imagecache").unwrap().unwrap().metadata.resource_version;
        let set = cluster.server.wait(cluster.sets().unwrap().get("b1")).unwrap().metadata.resource_version;
        (cache, set, cluster.node("b1").unwrap().metadata.resource_version)
    };
    until("1/1", SOON, || {
        ensure!(cluster.status("imagecache")?.nodes_ready.as_deref() == Some("1/1"), "not yet");
        Ok(())
    })
    .unwrap();
    let before = version();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(version(), before, "a pass with nothing to do writes nothing");
}

#[test]
fn an_edit_in_the_middle_of_the_work_counts() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    let _controller = start(&cluster, &[]);
    let agents = Agents::start(&cluster).unwrap();
    agents.behaviour().slow.insert("docker.io/library/slow:1".to_owned());
    cluster.apply("one", &images(&["slow:1", "x:1"])).unwrap();
    told(&cluster, "one", "Processing", "ImageCacheCreate");
    held(&cluster, "n1", &["docker.io/library/slow:1", "docker.io/library/x:1"]);
    cluster.apply("one", &images(&["x:1", "y:1"])).unwrap();
    let status = told(&cluster, "one", "Succeeded", "ImageCacheUpdate");
    assert_eq!(status.observed_generation, Some(2));
    held(&cluster, "n1", &["docker.io/library/x:1", "docker.io/library/y:1"]);
}

#[test]
fn every_value_of_the_refresh_annotation_counts_and_it_is_taken_off() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    let _controller = start(&cluster, &[]);
    let agents = Agents::start(&cluster).unwrap();
    cluster.apply("one", &images(&["x:1"])).unwrap();
    told(&cluster, "one", "Succeeded", "ImageCacheCreate");
    let after = || {
        let set = cluster.server.wait(cluster.sets().unwrap().get("n1")).unwrap();
        set.spec.images[0].verify_after.clone().map(|time| time.0)
    };
    let refreshed = || {
        until("the annotation is gone", SOON, || {
            let cache = cluster.cache("one")?.unwrap();
            ensure!(cache.metadata.annotations.unwrap_or_default().is_empty(), "{:?}", cache.status);
            Ok(())
        })
        .unwrap();
        told(&cluster, "one", "Succeeded", "ImageCacheRefresh");
        after()
    };
    assert_eq!(after(), None);
    cluster.annotate("one", names::REFRESH, "1").unwrap();
    let first = refreshed();
    agents.behaviour().silent.insert("n1".to_owned());
    std::thread::sleep(Duration::from_millis(1100));
    cluster.annotate("one", names::REFRESH, "2").unwrap();
    told(&cluster, "one", "Processing", "ImageCacheRefresh");
    cluster.annotate("one", names::REFRESH, "3").unwrap();
    agents.behaviour().silent.clear();
    let second = refreshed();
    assert!(first.is_some() && second > first, "{first:?} {second:?}");
}

#[test]
fn a_failed_image_and_a_broken_rule_are_told_and_no_node_that_is_away_fails_anything() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    cluster.add_node("n2", "a").unwrap();
    cluster.set_ready("n2", false).unwrap();
    let _controller = start(&cluster, &["--allowed-registries", "docker.io,good.example"]);
    let agents = Agents::start(&cluster).unwrap();
    agents.behaviour().silent.insert("n2".to_owned());
    agents.behaviour().bad.insert("good.example/bad:1".to_owned());
    cluster.apply("good", &images(&["x:1"])).unwrap();
    cluster.apply("bad", &images(&["good.example/bad:1"])).unwrap();
    cluster.apply("foreign", &images(&["other.example/x:1"])).unwrap();
    cluster.apply("upper", &images(&["Upper"])).unwrap();
    let status = told(&cluster, "good", "Succeeded", "ImageCacheCreate");
    assert_eq!(status.nodes.unwrap().waiting, 1);
    let status = told(&cluster, "bad", "Failed", "ImageCacheCreate");
    assert_eq!(status.failures["good.example/bad:1"][0].node, "n1");
    let status = told(&cluster, "foreign", "Failed", "CacheSpecValidationFailed");
    let message = "image other.example/x:1 is not of an allowed registry: docker.io, good.example";
    assert_eq!(status.message.as_deref(), Some(message));
    let status = told(&cluster, "upper", "Failed", "CacheSpecValidationFailed");
    assert!(status.message.unwrap().contains("Upper"));
    assert_eq!(condition(&status_of(&cluster, "upper"), "Degraded"), "True CacheSpecValidationFailed");
}

fn status_of(cluster: &Cluster, cache: &str) -> ImageCacheStatus {
    cluster.status(cache).unwrap()
}

#[test]
fn ten_thousand_images_are_capped_and_the_rest_is_named() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    let _controller = start(&cluster, &[]);
    let _agents = Agents::start(&cluster).unwrap();
    let many: Vec<String> = (0..10_000).map(|at| format!("registry.example/team/image-{at}:1")).collect();
    cluster.apply("many", &json!({ "cacheSpec": [{ "images": many }] })).unwrap();
    let status = told(&cluster, "many", "Failed", "ImageCacheCreate");
    assert_eq!(condition(&status, "Capped"), "True TooManyImages");
    assert_eq!(condition(&status, "Ready"), "False Capped");
    assert_eq!(cluster.held("n1").unwrap().len(), larder_api::MAX_IMAGES);
}

#[test]
fn a_flag_of_the_releases_that_means_something_else_here_is_refused_by_name() {
    let ran = larder(["controller", "--jobs-max-surge", "3"]).unwrap();
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("--jobs-max-surge is not taken: set maxParallelNodes in the ImageCache"),
        "{ran:?}"
    );
    let ran = larder(["controller", "--kubeconfig", "/nowhere/kubeconfig"]).unwrap();
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("/nowhere/kubeconfig"), "{ran:?}");
}
