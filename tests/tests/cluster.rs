//! The whole way, on real parts: a cache, the controller, an agent on a node with a real containerd, a real registry, and back.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::time::Duration;

use anyhow::{Result, ensure};
use larder_api::names;
use larder_core::ImageRef;
use larder_tests::containerd::{Containerd, on_each};
use larder_tests::image::{Compression, Entry, ImageBuilder, LayerBuilder};
use larder_tests::kubernetes::{Cluster, Controller};
use larder_tests::larder::command;
use larder_tests::process::{Daemon, until};
use larder_tests::registry::Registry;
use larder_tests::workdir::Workdir;
use serde_json::json;

/// For small images on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn agent(cluster: &Cluster, node: &str, containerd: &Containerd, dir: &Workdir) -> Result<Daemon> {
    let mut agent = command()?;
    agent.args(["agent", "--node-name", node, "--cri-socket"]).arg(containerd.socket());
    agent.args(["--min-free=0", "--low-threshold=100", "--metrics-address=127.0.0.1:0"]);
    agent.env("KUBECONFIG", cluster.server.kubeconfig()).env_remove("KUBERNETES_SERVICE_HOST");
    Daemon::spawn(&agent, &dir.join(&format!("{node}.log")))
}

fn push(registry: &Registry, name: &str) -> ImageRef {
    let layer = LayerBuilder::default().entry(Entry::file("own", name)).build(Compression::Gzip).unwrap();
    registry
        .push(&ImageBuilder::default().layer(&layer).cmd(&["x"]).build(), &format!("cluster/{name}:1"))
        .unwrap()
}

/// Waits until the cache's action ended well.
fn succeeded(cluster: &Cluster, reason: &str) -> Result<()> {
    until(&format!("{reason} has succeeded"), SOON, || {
        let status = cluster.status("shop")?;
        let is = (status.status.as_deref(), status.reason.as_deref());
        ensure!(is == (Some("Succeeded"), Some(reason)), "{status:?}");
        Ok(())
    })
}

fn is_warm(cluster: &Cluster, node: &str) -> Result<Option<String>> {
    Ok(cluster.node(node)?.metadata.labels.unwrap_or_default().remove(names::NODE_WARM))
}

#[test]
fn what_a_cache_names_is_on_its_nodes_and_leaves_them_with_it() {
    let registry = Registry::start().unwrap();
    let [one, two, mine] = ["one", "two", "mine"].map(|name| push(&registry, name));
    let dir = Workdir::new().unwrap();
    on_each(|containerd| {
        let has =
            |image: &ImageRef| Ok::<_, anyhow::Error>(containerd.image_status(&image.to_string())?.is_some());
        let cluster = Cluster::start()?;
        let _controller = Controller::start(cluster.server.kubeconfig(), "one", &[])?;
        cluster.add_node("near", "a")?;
        cluster.add_node("far", "b")?;
        let _agent = agent(&cluster, "near", containerd, &dir)?;
        containerd.pull(&mine)?;

        let list = |images: &[&ImageRef]| {
            let images: Vec<_> = images.iter().map(ToString::to_string).collect();
            json!({ "cacheSpec": [{ "images": images, "nodeSelector": "zone=a" }] })
        };
        cluster.apply("shop", &list(&[&one, &mine]))?;
        succeeded(&cluster, "ImageCacheCreate")?;
        ensure!(has(&one)? && has(&mine)? && !has(&two)?, "after the first list");
        ensure!(cluster.held("far")?.is_empty(), "nothing is wanted of the other zone");
        until("the node is called warm", SOON, || {
            ensure!(is_warm(&cluster, "near")?.as_deref() == Some("true"), "not yet");
            Ok(())
        })?;

        cluster.apply("shop", &list(&[&two, &mine]))?;
        succeeded(&cluster, "ImageCacheUpdate")?;
        ensure!(has(&two)?, "what came with the edit is there");
        until("what the edit dropped leaves", SOON, || {
            ensure!(!has(&one)?, "it is still there");
            Ok(())
        })?;

        cluster.delete("shop")?;
        until("the cache is gone", SOON, || {
            ensure!(cluster.cache("shop")?.is_none(), "{:?}", cluster.status("shop"));
            Ok(())
        })?;
        ensure!(!has(&two)?, "what was pulled for it is gone");
        ensure!(has(&mine)?, "what was there before stays");
        Ok(())
    })
    .unwrap();
}
