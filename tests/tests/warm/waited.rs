//! What `larder warm --wait` waits for.

use std::thread::sleep;
use std::time::Duration;

use kube::api::DeleteParams;
use larder_tests::process::until;
use serde_json::json;

use super::cluster::{LIMIT, Space, assert_ended, end};

/// Longer than any sight of a change takes.
const WHILE: Duration = Duration::from_secs(2);

fn made(space: &Space) {
    let there = || Ok(space.server.wait(space.caches().get("warm")).map(drop)?);
    until("the cache is there", LIMIT, there).unwrap();
}

#[test]
fn it_ends_well_only_when_the_spec_that_was_written_is_ready() {
    let space = Space::new("waits");
    let before = space.make("warm", &json!({})).metadata.generation;
    space.judge("warm", before, &[("Ready", "True")]);
    let mut waiting = space.begin("warm nginx:1 --wait");
    let extended = || {
        anyhow::ensure!(space.cache("warm").metadata.generation > before);
        Ok(())
    };
    until("the cache is extended", LIMIT, extended).unwrap();
    // What was said of the spec before does not count.
    sleep(WHILE);
    assert_eq!(waiting.try_wait().unwrap(), None, "it did not wait");
    let generation = space.cache("warm").metadata.generation;
    space.judge("warm", generation, &[("Ready", "False"), ("Progressing", "True"), ("Degraded", "True")]);
    sleep(WHILE);
    assert_eq!(waiting.try_wait().unwrap(), None, "it did not wait");
    space.judge("warm", generation, &[("Ready", "True")]);
    assert_ended(&end(waiting), 0, "image cache waits/warm: warm on 2/2 nodes\n");
    assert_ended(&space.larder("warm nginx:1 --wait"), 0, "unchanged");
}

#[test]
fn what_failed_for_good_ends_it_at_once_and_what_does_not_come_at_the_timeout() {
    let space = Space::new("fails");
    let ran = space.larder("warm redis:7 --wait --timeout 1s");
    assert_ended(
        &ran,
        1,
        "error: image cache fails/warm: not done after 1 s: no controller has looked at it\n",
    );
    space.judge("warm", Some(1), &[("Ready", "False"), ("Progressing", "True")]);
    let ran = space.larder("warm redis:7 --wait --timeout 1s");
    assert_ended(&ran, 1, "not done after 1 s: Told: told by the test\n");
    space.judge("warm", Some(1), &[("Ready", "False"), ("Degraded", "True")]);
    assert_ended(
        &space.larder("warm redis:7 --wait --timeout 0s"),
        1,
        "error: image cache fails/warm: told by the test\n",
    );
}

#[test]
fn who_deletes_the_cache_ends_the_wait() {
    let space = Space::new("deleted");
    let waiting = space.begin("warm redis:7 --wait");
    made(&space);
    space.server.wait(space.caches().delete("warm", &DeleteParams::default())).unwrap();
    assert_ended(&end(waiting), 1, "somebody deleted it");
}

#[test]
fn while_it_waits_it_tells_how_far_the_nodes_are() {
    let space = Space::new("tells");
    let waiting = space.begin("warm redis:7 nginx:1 --wait");
    made(&space);
    space.report(
        "tells-1",
        "warm",
        &[("docker.io/library/redis:7", "Warm", None), ("docker.io/library/nginx:1", "Pulling", Some(50))],
    );
    sleep(WHILE);
    space.report(
        "tells-1",
        "warm",
        &[("docker.io/library/redis:7", "Warm", None), ("docker.io/library/nginx:1", "Warm", None)],
    );
    space.judge("warm", Some(1), &[("Ready", "True")]);
    let ran = end(waiting);
    assert_ended(&ran, 0, "warm on 2/2 nodes");
    assert!(ran.stderr.contains("tells/warm: 2 of 2 nodes warm, 100 %\n"), "{}", ran.stderr);
}
