//! The controller killed at its writes, the API server away, others who write at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use larder_api::names;
use larder_tests::kubernetes::{Agents, Cluster, Controller, Door};
use larder_tests::process::until;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::{SOON, held, images, start, told};

/// Lives that a controller may need for one story: more would be a write that is repeated for ever.
const LIVES: usize = 60;

/// Lets controllers that are killed at their first write, each the next one's predecessor, work until `done`.
fn live_write_by_write(door: &Door, done: impl Fn() -> bool) -> usize {
    let mut life = 0;
    while !done() {
        assert!(life < LIVES, "not done after {LIVES} lives");
        life += 1;
        let controller = Controller::start(door.kubeconfig(), "the-one", &[]).unwrap();
        let pid = controller.pid().unwrap();
        let killed = std::sync::Arc::new(AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&killed);
        door.act_at(1, move || {
            let _ = kill_process(pid, Signal::KILL);
            seen.store(true, Ordering::SeqCst);
        });
        let ended = until("a write, or the end", SOON, || {
            anyhow::ensure!(killed.load(Ordering::SeqCst) || done(), "neither");
            Ok(())
        });
        ended.unwrap();
    }
    life
}

#[test]
fn a_controller_that_is_killed_at_every_single_write_comes_to_the_same_end() {
    let cluster = Cluster::start().unwrap();
    for node in ["n1", "n2"] {
        cluster.add_node(node, "a").unwrap();
    }
    let _agents = Agents::start(&cluster).unwrap();
    let door = Door::open(&cluster.server).unwrap();
    let is = |status: &str, reason: &str| {
        let seen = cluster.status("one").unwrap();
        seen.status.as_deref() == Some(status) && seen.reason.as_deref() == Some(reason)
    };
    cluster.apply("one", &images(&["x:1", "y:1"])).unwrap();
    let lives = live_write_by_write(&door, || is("Succeeded", "ImageCacheCreate"));
    assert!(lives > 2, "{lives}");
    cluster.apply("one", &images(&["y:1", "z:1"])).unwrap();
    live_write_by_write(&door, || is("Succeeded", "ImageCacheUpdate"));
    cluster.annotate("one", names::REFRESH, "1").unwrap();
    let bare = || cluster.cache("one").unwrap().unwrap().metadata.annotations.unwrap_or_default().is_empty();
    live_write_by_write(&door, || is("Succeeded", "ImageCacheRefresh") && bare());
    cluster.annotate("one", names::PURGE, "").unwrap();
    live_write_by_write(&door, || is("Succeeded", "ImageCachePurge") && bare());
    cluster.delete("one").unwrap();
    live_write_by_write(&door, || cluster.cache("one").unwrap().is_none());
    let _controller = Controller::start(door.kubeconfig(), "the-one", &[]).unwrap();
    for node in ["n1", "n2"] {
        held(&cluster, node, &[]);
        until("nothing is said of the node", SOON, || {
            let labels = cluster.node(node)?.metadata.labels.unwrap_or_default();
            anyhow::ensure!(!labels.contains_key(names::NODE_WARM), "{labels:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn an_api_server_that_was_away_is_found_again_and_nothing_is_lost() {
    let mut cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    let controller = start(&cluster, &[]);
    let agents = Agents::start(&cluster).unwrap();
    agents.behaviour().slow.insert("docker.io/library/x:1".to_owned());
    cluster.apply("one", &images(&["x:1"])).unwrap();
    told(&cluster, "one", "Processing", "ImageCacheCreate");
    cluster.apply("one", &images(&["x:1", "y:1"])).unwrap();
    cluster.server.away(Duration::from_secs(20)).unwrap();
    agents.behaviour().slow.clear();
    told(&cluster, "one", "Succeeded", "ImageCacheUpdate");
    cluster.apply("two", &images(&["z:1"])).unwrap();
    told(&cluster, "two", "Succeeded", "ImageCacheCreate");
    controller.stop().unwrap();
}

#[test]
fn others_who_write_at_the_same_time_cost_nothing_but_another_try() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    let _controller = start(&cluster, &[]);
    let _agents = Agents::start(&cluster).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0;
            while !end.load(Ordering::SeqCst) {
                count += 1;
                let _ = cluster.annotate("one", "example.com/note", &count.to_string());
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        cluster.apply("one", &images(&["x:1"])).unwrap();
        told(&cluster, "one", "Succeeded", "ImageCacheCreate");
        cluster.annotate("one", names::PURGE, "").unwrap();
        told(&cluster, "one", "Succeeded", "ImageCachePurge");
        end.store(true, Ordering::SeqCst);
    });
    // A spec that somebody else changed is put right.
    cluster.apply("one", &images(&["y:1"])).unwrap();
    told(&cluster, "one", "Succeeded", "ImageCacheUpdate");
    let sabotage = Patch::Merge(json!({ "spec": { "images": [{ "image": "evil.example/x:1" }] } }));
    let sets = cluster.sets().unwrap();
    cluster.server.wait(sets.patch("n1", &PatchParams::default(), &sabotage)).unwrap();
    // What a set lists and no cache wants is purged: the agent decides whether it was ours.
    held(&cluster, "n1", &["docker.io/library/y:1"]);
    until("the cache is warm again", SOON, || {
        anyhow::ensure!(cluster.status("one")?.status.as_deref() == Some("Succeeded"), "not yet");
        Ok(())
    })
    .unwrap();
}
