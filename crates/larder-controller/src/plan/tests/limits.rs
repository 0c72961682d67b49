//! Limits: what one set holds, how many nodes pull, how many pulls a registry sees.

use larder_api::{ConditionType, MAX_IMAGES, names};
use serde_json::json;

use super::{World, pair};

#[test]
fn a_set_holds_what_fits_the_oldest_cache_first_and_the_rest_is_named() {
    let mut world = World::with_nodes(2);
    let many: Vec<String> = (0..MAX_IMAGES - 1).map(|at| format!("old{at:04}")).collect();
    world.apply("old", json!({ "cacheSpec": [{ "images": many }] }));
    world.pass_time(1);
    world.cache("new", &["old0001", "a", "b", "c"]);
    world.settle();
    assert_eq!(world.held("n1").len(), MAX_IMAGES);
    assert_eq!(world.told("old").0, "Succeeded");
    assert_eq!(world.told("new"), pair("Failed", "ImageCacheCreate"));
    assert_eq!(world.condition("new", ConditionType::Ready), pair("False", "Capped"));
    let conditions = world.caches["new"].status.clone().unwrap().conditions;
    let capped = conditions.iter().find(|condition| condition.type_ == "Capped").unwrap();
    assert_eq!(capped.message, "a node holds no more: n1 lacks b, c; so on 2 nodes");
    world.delete("old");
    world.settle();
    assert_eq!(world.told("new").0, "Succeeded");
    assert_eq!(world.condition("new", ConditionType::Capped), pair("", ""));
}

#[test]
fn ten_thousand_images_are_a_condition_and_no_object_that_is_too_large() {
    let mut world = World::with_nodes(1);
    let many: Vec<String> = (0..10_000).map(|at| format!("r.example/{}/{at}", "x".repeat(240))).collect();
    world.apply("one", json!({ "cacheSpec": [{ "images": many }] }));
    world.bad.extend(many.iter().map(|image| format!("{image}:latest")));
    world.settle();
    assert_eq!(world.condition("one", ConditionType::Capped).0, "True");
    assert!(world.held("n1").len() > 500 && world.held("n1").len() < MAX_IMAGES);
    let size = |value: serde_json::Value| value.to_string().len();
    assert!(size(json!(world.sets["n1"])) < 1_000_000);
    assert!(size(json!(world.caches["one"].status)) < 100_000);
}

#[test]
fn what_goes_makes_room_for_what_comes() {
    let mut world = World::with_nodes(1);
    let images =
        |prefix: &str| -> Vec<String> { (0..MAX_IMAGES).map(|at| format!("{prefix}{at}")).collect() };
    world.apply("one", json!({ "cacheSpec": [{ "images": images("a") }] }));
    world.settle();
    world.apply("one", json!({ "cacheSpec": [{ "images": images("b") }] }));
    world.control();
    assert_eq!(
        world.held("n1").len(),
        MAX_IMAGES,
        "no more than fit, although all of them are to be replaced"
    );
    world.settle();
    assert!(world.held("n1").iter().all(|image| image.starts_with('b')));
    assert_eq!(world.held("n1").len(), MAX_IMAGES);
}

#[test]
fn no_more_nodes_pull_at_a_time_than_the_cache_says() {
    let mut world = World::with_nodes(10);
    world.bad.insert("docker.io/library/bad:latest".to_owned());
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x", "bad"] }], "maxParallelNodes": "20%" }));
    let asked = |world: &World| world.sets.keys().cloned().collect::<Vec<_>>();
    world.control();
    assert_eq!(asked(&world), ["n1", "n10"]);
    world.agent_answers("n1");
    world.control();
    assert_eq!(asked(&world), ["n1", "n10", "n2"], "a failed pull holds nobody up");
    world.set_ready("n10", "Unknown");
    world.control();
    assert_eq!(asked(&world), ["n1", "n10", "n2", "n3"], "nor does a node that went away");
    world.set_ready("n10", "True");
    world.settle();
    assert_eq!(asked(&world).len(), 10);
}

#[test]
fn a_refresh_keeps_to_the_limit_too() {
    let mut world = World::with_nodes(3);
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x"] }], "maxParallelNodes": 1 }));
    world.settle();
    world.pass_time(60);
    world.annotate("one", names::REFRESH, "1");
    world.control();
    let asked = |world: &World| {
        let again = world.sets.values().filter(|set| set.spec.images[0].verify_after.is_some());
        again.count()
    };
    assert_eq!(asked(&world), 1);
    world.agents_answer();
    world.control();
    assert_eq!(asked(&world), 2);
    world.settle();
    assert_eq!(asked(&world), 3);
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheRefresh"));
}

#[test]
fn no_more_pulls_from_a_registry_are_under_way_than_the_cache_says() {
    let mut world = World::with_nodes(3);
    let images = ["r.example/a", "r.example/b", "other.example/a"];
    world.apply("one", json!({ "cacheSpec": [{ "images": images }], "maxPullsPerRegistry": 2 }));
    let asked = |world: &World, host: &str| {
        let entries = world.sets.values().flat_map(|set| &set.spec.images);
        entries.filter(|entry| entry.image.starts_with(host)).count()
    };
    world.control();
    assert_eq!((asked(&world, "r."), asked(&world, "other.")), (2, 2));
    world.settle();
    assert_eq!((asked(&world, "r."), asked(&world, "other.")), (6, 3));
    assert_eq!(world.told("one").0, "Succeeded");
}

#[test]
fn a_limit_holds_nobody_up_who_wants_the_same_without_one() {
    let mut world = World::with_nodes(3);
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x"] }], "maxParallelNodes": 1 }));
    world.cache("two", &["x"]);
    world.control();
    assert_eq!(world.sets.len(), 3);
}
