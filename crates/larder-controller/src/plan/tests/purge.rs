//! Purges, by annotation and by deletion.

use larder_api::{ConditionType, names};
use serde_json::json;

use super::{World, pair};

#[test]
fn a_purge_empties_the_nodes_lists_what_is_kept_and_lasts_until_an_edit() {
    let mut world = World::with_nodes(2);
    world.in_use.insert("docker.io/library/x:latest".to_owned());
    world.cache("one", &["x", "y"]);
    world.settle();
    world.annotate("one", names::PURGE, "now");
    world.control();
    assert_eq!(world.held("n1"), ["-x", "-y"]);
    assert_eq!(world.told("one"), pair("Processing", "ImageCachePurge"));
    world.settle();
    assert!(world.sets.is_empty());
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCachePurge"));
    let kept = world.caches["one"].status.clone().unwrap().kept;
    assert_eq!((kept.len(), kept[0].image.as_str(), kept[0].nodes), (1, "x", 2));
    assert_eq!(kept[0].message, "a container uses it");
    assert_eq!(world.caches["one"].metadata.annotations.clone().unwrap().len(), 0);
    world.pass_time(3600);
    assert!(world.plan().is_empty(), "a purged cache wants nothing");
    world.cache("one", &["y"]);
    world.settle();
    assert_eq!(world.held("n1"), ["y"]);
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheUpdate"));
}

#[test]
fn an_edit_in_the_middle_of_a_purge_counts_after_it() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.settle();
    world.annotate("one", names::PURGE, "");
    world.control();
    world.cache("one", &["z"]);
    world.settle();
    assert_eq!(world.held("n1"), ["z"]);
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheUpdate"));
}

#[test]
fn a_purge_that_comes_with_an_edit_purges_the_edited_cache() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.settle();
    for _ in 0..2 {
        world.cache("one", &["z"]);
        world.annotate("one", names::PURGE, "");
        world.settle();
        assert!(world.sets.is_empty());
        assert_eq!(world.told("one"), pair("Succeeded", "ImageCachePurge"));
    }
}

#[test]
fn a_refresh_wakes_a_purged_cache() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.settle();
    world.annotate("one", names::PURGE, "");
    world.settle();
    world.annotate("one", names::REFRESH, "again");
    world.settle();
    assert_eq!(world.held("n1"), ["x"]);
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheRefresh"));
}

#[test]
fn a_deleted_cache_stays_until_its_images_have_left() {
    let mut world = World::with_nodes(1);
    world.in_use.insert("docker.io/library/x:latest".to_owned());
    world.cache("one", &["x"]);
    world.settle();
    assert_eq!(world.caches["one"].metadata.finalizers.as_deref(), Some(&[names::FINALIZER.to_owned()][..]));
    world.delete("one");
    world.control();
    assert_eq!(world.told("one"), pair("Processing", "ImageCacheDelete"));
    world.agents_answer();
    let plan = world.plan();
    world.write(plan, usize::MAX);
    assert_eq!(world.caches["one"].status.as_ref().unwrap().kept[0].image, "x", "told before it goes");
    world.settle();
    assert!(world.caches.is_empty() && world.sets.is_empty());
}

#[test]
fn a_node_that_does_not_answer_holds_a_purge_up_no_longer_than_its_deadline() {
    for by_deletion in [false, true] {
        let mut world = World::with_nodes(2);
        world.cache("one", &["x"]);
        world.settle();
        if by_deletion {
            world.delete("one");
        } else {
            world.annotate("one", names::PURGE, "");
        }
        world.control();
        world.agent_answers("n1");
        world.control();
        assert_eq!(world.told("one").0, "Processing");
        world.pass_time(299);
        world.control();
        assert_eq!(world.told("one").0, "Processing");
        world.pass_time(1);
        world.control();
        assert_eq!(world.held("n1"), [""; 0]);
        assert_eq!(world.held("n2"), ["-x"], "it is to go all the same");
        if by_deletion {
            assert!(world.caches.is_empty());
            continue;
        }
        assert_eq!(world.told("one"), pair("Failed", "ImageCachePurge"));
        let failures = world.caches["one"].status.clone().unwrap().failures;
        assert_eq!((failures["x"][0].node.as_str(), failures["x"][0].reason.as_str()), ("n2", "NoAnswer"));
    }
}

#[test]
fn a_purge_waits_for_no_node_that_is_not_ready() {
    let mut world = World::with_nodes(2);
    world.cache("one", &["x"]);
    world.settle();
    world.set_ready("n2", "Unknown");
    world.annotate("one", names::PURGE, "");
    world.settle();
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCachePurge"));
    assert_eq!(world.held("n2"), ["-x"]);
    world.set_ready("n2", "True");
    world.settle();
    assert!(world.sets.is_empty());
}

#[test]
fn images_that_jobs_pulled_are_let_go_and_that_is_told() {
    let mut world = World::with_nodes(1);
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x"] }], "pullBy": "Job" }));
    world.settle();
    world.annotate("one", names::PURGE, "");
    world.control();
    assert!(world.sets.is_empty());
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCachePurge"));
    assert_eq!(world.condition("one", ConditionType::PurgeUnavailable).0, "True");
    world.delete("one");
    world.control();
    assert!(world.caches.is_empty());
}
