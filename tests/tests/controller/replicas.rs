//! Several replicas, and their ends.

use std::time::{Duration, Instant};

use larder_tests::kubernetes::{Agents, Cluster, Controller};
use larder_tests::process::until;

use super::{SOON, images, told};

/// Within this time the other replica carries on when one was killed.
const TAKEN_OVER: Duration = Duration::from_secs(15);

/// Whether a replica's metrics say that it leads.
fn leads(cluster: &Cluster, replica: &Controller) -> bool {
    let url = format!("http://{}/metrics", replica.metrics());
    let text = cluster.server.wait(async move {
        let http = reqwest::Client::builder().no_proxy().build()?;
        http.get(url).send().await?.text().await
    });
    text.unwrap().lines().any(|line| line == "larder_controller_leads 1")
}

fn wait_for(cluster: &Cluster, replica: &Controller) {
    until("the replica leads", SOON, || {
        anyhow::ensure!(leads(cluster, replica), "not yet");
        Ok(())
    })
    .unwrap();
}

#[test]
fn of_two_replicas_the_other_carries_on_when_one_is_killed_or_told_to_end() {
    let cluster = Cluster::start().unwrap();
    cluster.add_node("n1", "a").unwrap();
    let _agents = Agents::start(&cluster).unwrap();
    let replica = |pod: &str| Controller::start(cluster.server.kubeconfig(), pod, &[]).unwrap();
    let first = replica("first");
    wait_for(&cluster, &first);
    let second = replica("second");
    cluster.apply("one", &images(&["x:1"])).unwrap();
    told(&cluster, "one", "Succeeded", "ImageCacheCreate");
    assert!(!leads(&cluster, &second));

    let killed = Instant::now();
    first.kill().unwrap();
    cluster.apply("two", &images(&["y:1"])).unwrap();
    told(&cluster, "two", "Succeeded", "ImageCacheCreate");
    assert!(killed.elapsed() < TAKEN_OVER, "{:?}", killed.elapsed());
    assert!(leads(&cluster, &second));

    let third = replica("third");
    let stopped = Instant::now();
    second.stop().unwrap();
    wait_for(&cluster, &third);
    assert!(stopped.elapsed() < TAKEN_OVER, "{:?}", stopped.elapsed());
    cluster.apply("three", &images(&["z:1"])).unwrap();
    told(&cluster, "three", "Succeeded", "ImageCacheCreate");
}
