//! The rules, one by one, on a cluster in memory; and random histories, cut off anywhere.

mod convergence;
mod limits;
mod purge;
mod refresh;
mod world;

use larder_api::{ConditionType, names};
use serde_json::json;

use world::World;

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

#[test]
fn a_cache_becomes_entries_on_the_nodes_it_selects_and_ready_when_their_agents_confirm() {
    let mut world = World::with_nodes(2);
    world.add_node("other", "b");
    let lists = json!([{ "images": ["x"], "nodeSelector": { "zone": "a" } }, { "images": ["y"] }]);
    world.apply("one", json!({ "cacheSpec": lists }));
    world.control();
    assert_eq!(world.held("n1"), ["x", "y"]);
    assert_eq!(world.held("other"), ["y"]);
    assert_eq!(world.told("one"), pair("Processing", "ImageCacheCreate"));
    assert_eq!(world.condition("one", ConditionType::Ready), pair("False", "Pulling"));
    assert_eq!(world.label("n1"), Some("false"));
    world.settle();
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheCreate"));
    assert_eq!(world.condition("one", ConditionType::Ready), pair("True", "Warm"));
    assert_eq!(world.caches["one"].status.as_ref().unwrap().nodes_ready.as_deref(), Some("3/3"));
    assert_eq!(world.label("n1"), Some("true"));
}

#[test]
fn where_all_is_as_wanted_nothing_is_written_however_time_passes_within_confirmations() {
    let mut world = World::with_nodes(3);
    world.cache("one", &["x", "y"]);
    world.settle();
    for _ in 0..14 {
        world.pass_time(60);
        assert!(world.plan().is_empty(), "{:?}", world.plan());
    }
    assert_eq!(
        world.plan().next.unwrap().to_string(),
        "2026-01-01T00:15:00Z",
        "then confirmations are overdue"
    );
}

#[test]
fn two_caches_share_one_entry_that_serves_both_and_stays_while_one_wants_it() {
    let mut world = World::with_nodes(1);
    world.apply(
        "one",
        json!({ "cacheSpec": [{ "images": ["x"] }], "pullBy": "Job", "imagePullSecrets": [{ "name": "s" }] }),
    );
    let other = json!({ "cacheSpec": [{ "images": ["docker.io/library/x:latest"] }], "pin": true, "deadline": "10m" });
    world.apply("two", other);
    world.settle();
    let entry = world.sets["n1"].spec.images[0].clone();
    assert_eq!(entry.caches, ["team/one", "team/two"]);
    assert_eq!((entry.pin, entry.deadline_seconds), (true, Some(600)));
    assert_eq!(entry.pull_by, larder_api::PullBy::Agent);
    assert_eq!(entry.pull_secrets.len(), 1);
    world.annotate("two", names::PURGE, "");
    world.settle();
    assert_eq!(world.held("n1"), ["x"]);
    assert_eq!(world.told("two"), pair("Succeeded", "ImageCachePurge"));
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheCreate"));
}

#[test]
fn an_edit_counts_at_any_moment_and_what_it_drops_is_purged() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x", "y"]);
    world.control();
    world.cache("one", &["y", "z"]);
    world.control();
    assert_eq!(world.held("n1"), ["-x", "y", "z"]);
    assert_eq!(world.told("one"), pair("Processing", "ImageCacheUpdate"));
    world.settle();
    assert_eq!(world.held("n1"), ["y", "z"]);
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheUpdate"));
}

#[test]
fn an_image_that_is_wanted_again_must_be_confirmed_again() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x", "y"]);
    world.settle();
    world.cache("one", &["y"]);
    world.control();
    assert_eq!(world.held("n1"), ["-x", "y"]);
    world.cache("one", &["x", "y"]);
    world.control();
    assert_eq!(world.held("n1"), ["x", "y"]);
    assert_eq!(
        world.told("one").0,
        "Processing",
        "what the agent said before it saw the purge does not count"
    );
    world.settle();
    assert_eq!(world.told("one").0, "Succeeded");
}

#[test]
fn a_node_that_is_not_selected_any_more_lets_its_images_go() {
    let mut world = World::with_nodes(1);
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x"], "nodeSelector": "zone=a" }] }));
    world.settle();
    let labels = world.nodes.get_mut("n1").unwrap().metadata.labels.as_mut().unwrap();
    labels.insert("zone".to_owned(), "b".to_owned());
    world.control();
    assert_eq!(world.held("n1"), ["-x"]);
    world.settle();
    assert!(world.sets.is_empty());
    assert_eq!(world.label("n1"), None);
    assert_eq!(world.told("one").0, "NoImagesPulledOrDeleted");
}

#[test]
fn a_selector_that_matches_nothing_is_told_and_no_error() {
    let mut world = World::with_nodes(1);
    let lists = json!([{ "images": ["x"] }, { "images": ["y"], "nodeSelector": "zone=nowhere" }]);
    world.apply("some", json!({ "cacheSpec": lists }));
    world.apply("none", json!({ "cacheSpec": [{ "images": ["y"], "nodeSelector": "zone=nowhere" }] }));
    world.settle();
    assert_eq!(world.told("none"), pair("NoImagesPulledOrDeleted", "ImageCacheCreate"));
    assert_eq!(world.condition("none", ConditionType::Ready), pair("False", "NoNodesSelected"));
    assert_eq!(world.condition("none", ConditionType::Degraded).0, "False");
    let conditions = &world.caches["some"].status.as_ref().unwrap().conditions;
    assert_eq!(conditions[0].message, "1 of 1 nodes are warm; no node is selected by list 2");
    assert_eq!(conditions[0].status, "True");
}

#[test]
fn nodes_that_cannot_answer_are_waited_for_and_fail_nothing() {
    let mut world = World::with_nodes(3);
    world.set_ready("n2", "Unknown");
    world.cordon("n3");
    world.cache("one", &["x"]);
    world.control();
    assert_eq!(world.held("n2"), ["x"], "they are asked all the same");
    world.agent_answers("n1");
    world.control();
    assert_eq!(world.told("one").0, "Succeeded");
    assert_eq!(world.condition("one", ConditionType::Ready).0, "True");
    let nodes = world.caches["one"].status.as_ref().unwrap().nodes.unwrap();
    assert_eq!((nodes.wanted, nodes.ready, nodes.waiting, nodes.failed), (3, 1, 2, 0));
    world.set_ready("n2", "True");
    world.control();
    assert_eq!(world.told("one"), pair("Processing", "ImageCacheRefresh"), "now it is asked");
    world.settle();
    assert_eq!(world.told("one").0, "Succeeded");
}

#[test]
fn nothing_is_ready_where_no_node_is_ready() {
    let mut world = World::with_nodes(1);
    world.set_ready("n1", "False");
    world.cache("one", &["x"]);
    world.control();
    assert_eq!(world.condition("one", ConditionType::Ready), pair("False", "NodesWaiting"));
}

#[test]
fn a_new_node_gets_its_set_and_that_of_a_vanished_one_goes() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.settle();
    world.add_node("n2", "a");
    world.nodes.remove("n1");
    world.control();
    assert_eq!(world.sets.keys().collect::<Vec<_>>(), ["n2"]);
    world.settle();
    world.add_node("n2", "a");
    let plan = world.plan();
    assert_eq!(plan.sets.len(), 1, "the set belongs to a node of another UID");
}

#[test]
fn a_failed_image_fails_its_cache_and_is_named_as_the_user_wrote_it() {
    let mut world = World::with_nodes(1);
    world.bad.insert("docker.io/library/bad:latest".to_owned());
    world.cache("one", &["bad", "x"]);
    world.settle();
    assert_eq!(world.told("one"), pair("Failed", "ImageCacheCreate"));
    assert_eq!(world.condition("one", ConditionType::Degraded), pair("True", "PullFailed"));
    let failures = &world.caches["one"].status.as_ref().unwrap().failures;
    assert_eq!(failures["bad"][0].node, "n1");
    assert_eq!(failures["bad"][0].reason, "NotFound");
    assert_eq!(world.label("n1"), Some("false"));
    world.bad.clear();
    world.agents_answer();
    world.settle();
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheCreate"));
}

#[test]
fn what_no_agent_confirmed_in_time_is_unknown_until_it_does() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.settle();
    world.pass_time(15 * 60);
    world.control();
    assert_eq!(world.told("one"), pair("Unknown", "ImageCacheCreate"));
    assert_eq!(world.condition("one", ConditionType::Ready), pair("Unknown", "NotConfirmed"));
    assert_eq!(world.label("n1"), Some("false"));
    world.agents_answer();
    world.settle();
    assert_eq!(world.told("one").0, "Succeeded");
}

#[test]
fn an_agent_that_never_answers_is_unknown_after_the_deadline() {
    let mut world = World::with_nodes(1);
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x"] }], "deadline": "1m" }));
    world.control();
    assert_eq!(world.plan().next.unwrap().to_string(), "2026-01-01T00:03:00Z");
    world.pass_time(180);
    world.control();
    assert_eq!(world.told("one").0, "Unknown");
    assert_eq!(world.caches["one"].status.as_ref().unwrap().failures["x"][0].reason, "NoAnswer");
}

#[test]
fn an_invalid_cache_keeps_what_nodes_hold_and_gets_nothing_more() {
    let mut world = World::with_nodes(1);
    world.cache("one", &["x"]);
    world.cache("two", &["x", "y"]);
    world.settle();
    world.cache("one", &["x", "z", "z"]);
    world.delete("two");
    world.add_node("n2", "a");
    world.settle();
    assert_eq!(world.held("n1"), ["x"]);
    assert_eq!(world.sets["n1"].spec.images[0].caches, ["team/one"]);
    assert_eq!(world.held("n2"), [""; 0]);
    assert_eq!(world.told("one"), pair("Failed", "CacheSpecValidationFailed"));
    let status = world.caches["one"].status.clone().unwrap();
    assert_eq!(status.message.as_deref(), Some("Duplicate image names within image list: z"));
    assert_eq!(world.condition("one", ConditionType::Degraded).0, "True");
    world.cache("one", &["z"]);
    world.settle();
    assert_eq!(world.held("n2"), ["z"]);
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheUpdate"));
}

#[test]
fn an_image_of_a_registry_that_is_not_allowed_is_refused() {
    let mut world = World::with_nodes(1);
    world.rules.allowed = vec!["registry.example/team".parse().unwrap()];
    world.cache("one", &["registry.example/team/x", "y"]);
    world.settle();
    assert!(world.sets.is_empty());
    assert_eq!(world.told("one"), pair("Failed", "CacheSpecValidationFailed"));
    let message = world.caches["one"].status.clone().unwrap().message.unwrap();
    assert_eq!(message, "image y is not of an allowed registry: registry.example/team");
    world.rules.allowed.clear();
    world.settle();
    assert_eq!(world.told("one"), pair("Succeeded", "ImageCacheUpdate"));
}

#[test]
fn a_cache_of_a_namespace_that_is_not_served_is_refused() {
    let mut world = World::with_nodes(1);
    world.rules.namespaces.insert("other".to_owned());
    world.cache("one", &["x"]);
    world.settle();
    assert!(world.sets.is_empty());
    let message = world.caches["one"].status.clone().unwrap().message.unwrap();
    assert_eq!(message, "the controller takes no caches of namespace team");
}

#[test]
fn a_cache_by_job_is_refused_where_nothing_carries_jobs_out() {
    let mut world = World::with_nodes(1);
    world.rules.jobs = false;
    world.apply("one", json!({ "cacheSpec": [{ "images": ["x"] }], "pullBy": "Job" }));
    world.settle();
    assert!(world.sets.is_empty());
    assert_eq!(world.told("one"), pair("Failed", "CacheSpecValidationFailed"));
    let message = world.caches["one"].status.clone().unwrap().message.unwrap();
    assert_eq!(message, "pullBy: Job is not carried out by this version; use Agent");
}
