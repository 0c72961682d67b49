//! Purges and deletions.

use larder_api::names;
use larder_tests::kubernetes::{Agents, Cluster};
use larder_tests::process::until;

use super::{SOON, condition, held, images, start, told};

fn gone(cluster: &Cluster, cache: &str) {
    until("the cache is gone", SOON, || {
        anyhow::ensure!(cluster.cache(cache)?.is_none(), "{:?}", cluster.status(cache)?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_purge_empties_the_nodes_and_lists_what_is_kept_and_an_edit_fills_them_again() {
    let cluster = Cluster::start().unwrap();
    for node in ["n1", "n2"] {
        cluster.add_node(node, "a").unwrap();
    }
    let _controller = start(&cluster, &[]);
    let agents = Agents::start(&cluster).unwrap();
    cluster.apply("one", &images(&["x:1", "shared:1"])).unwrap();
    cluster.apply("two", &images(&["shared:1"])).unwrap();
    told(&cluster, "one", "Succeeded", "ImageCacheCreate");
    told(&cluster, "two", "Succeeded", "ImageCacheCreate");
    agents.behaviour().in_use.insert("docker.io/library/x:1".to_owned());
    cluster.annotate("one", names::PURGE, "").unwrap();
    let status = told(&cluster, "one", "Succeeded", "ImageCachePurge");
    let kept = &status.kept[0];
    assert_eq!((kept.image.as_str(), kept.nodes, kept.message.as_str()), ("x:1", 2, "a container uses it"));
    assert_eq!(condition(&status, "Ready"), "False Purged");
    held(&cluster, "n1", &["docker.io/library/shared:1"]);
    assert!(cluster.cache("one").unwrap().unwrap().metadata.annotations.unwrap_or_default().is_empty());
    told(&cluster, "two", "Succeeded", "ImageCacheCreate");
    cluster.apply("one", &images(&["y:1"])).unwrap();
    told(&cluster, "one", "Succeeded", "ImageCacheUpdate");
    held(&cluster, "n2", &["docker.io/library/shared:1", "docker.io/library/y:1"]);
}

#[test]
fn a_deleted_cache_goes_when_its_images_have_and_a_silent_node_holds_it_up_for_a_time_only() {
    let cluster = Cluster::start().unwrap();
    for node in ["n1", "n2"] {
        cluster.add_node(node, "a").unwrap();
    }
    let _controller = start(&cluster, &["--purge-deadline", "4s"]);
    let agents = Agents::start(&cluster).unwrap();
    cluster.apply("one", &images(&["x:1"])).unwrap();
    told(&cluster, "one", "Succeeded", "ImageCacheCreate");
    assert_eq!(
        cluster.cache("one").unwrap().unwrap().metadata.finalizers,
        Some(vec![names::FINALIZER.to_owned()])
    );
    cluster.delete("one").unwrap();
    gone(&cluster, "one");
    held(&cluster, "n1", &[]);

    cluster.apply("two", &images(&["x:1"])).unwrap();
    told(&cluster, "two", "Succeeded", "ImageCacheCreate");
    agents.behaviour().silent.insert("n2".to_owned());
    cluster.delete("two").unwrap();
    told(&cluster, "two", "Processing", "ImageCacheDelete");
    gone(&cluster, "two");
    held(&cluster, "n2", &["-docker.io/library/x:1"]);
    agents.behaviour().silent.clear();
    held(&cluster, "n2", &[]);
}
