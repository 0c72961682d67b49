//! Refreshes that are asked for.

use larder_api::names;

use super::{World, pair};

#[test]
fn a_refresh_asks_every_node_again_and_its_annotation_goes_when_it_is_done() {
    let mut world = World::with_nodes(2);
    world.cache("one", &["x"]);
    world.settle();
    world.pass_time(60);
    world.annotate("one", names::REFRESH, "1");
    world.control();
    assert_eq!(world.told("one"), pair("Processing", "ImageCacheRefresh"));
    let after = |world: &World| world.sets["n1"].spec.images[0].verify_after.clone().unwrap().0.to_string();
    assert_eq!(after(&world), "2026-01-01T00:01:01Z");
    world.agent_answers("n1");
    world.control();
    assert_eq!(world.told("one").0, "Processing", "one node has not answered");
    world.settle();
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheRefresh"));
    let cache = &world.caches["one"];
    assert_eq!(cache.metadata.annotations.as_ref().unwrap().len(), 0);
    assert_eq!(cache.status.as_ref().unwrap().refresh, None);
    assert_eq!(after(&world), "2026-01-01T00:01:01Z", "kept, for taking it back would be a write");
}

#[test]
fn a_newer_value_in_the_middle_begins_again() {
    let mut world = World::with_nodes(2);
    world.cache("one", &["x"]);
    world.settle();
    world.pass_time(60);
    world.annotate("one", names::REFRESH, "1");
    world.control();
    world.agent_answers("n1");
    world.pass_time(60);
    world.annotate("one", names::REFRESH, "2");
    world.control();
    world.agent_answers("n2");
    world.control();
    assert_eq!(world.told("one").0, "Processing", "what answered the first value does not answer the second");
    world.settle();
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheRefresh"));
    assert_eq!(world.caches["one"].metadata.annotations.as_ref().unwrap().len(), 0);
}

#[test]
fn a_refresh_ends_with_failures_and_without_nodes_too() {
    let mut world = World::with_nodes(1);
    world.bad.insert("docker.io/library/bad:latest".to_owned());
    world.cache("one", &["bad"]);
    world.settle();
    world.annotate("one", names::REFRESH, "1");
    world.control();
    assert_eq!(world.told("one").0, "Processing", "the failure is older than the refresh");
    world.settle();
    assert_eq!(world.told("one"), pair("Failed", "ImageCacheRefresh"));
    world.nodes.clear();
    world.annotate("one", names::REFRESH, "2");
    world.settle();
    assert_eq!(world.told("one"), pair("NoImagesPulledOrDeleted", "ImageCacheRefresh"));
    assert_eq!(world.caches["one"].metadata.annotations.as_ref().unwrap().len(), 0);
}

#[test]
fn a_refresh_that_is_taken_back_ends_at_once() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.settle();
    world.annotate("one", names::REFRESH, "1");
    world.control();
    world.caches.get_mut("one").unwrap().metadata.annotations = None;
    world.control();
    let status = world.caches["one"].status.clone().unwrap();
    assert_eq!(status.refresh, None);
    world.settle();
    assert_eq!(world.told("one").0, "Succeeded");
}
