//! Caches as aligned columns. Pure.

use larder_api::ImagePhase;

use super::{CacheView, ImageView, NodeView};
use crate::command::disk::Table;

const NONE: &str = "-";

/// A line for each cache, and below it one for each of its nodes, with those images that are not warm.
pub(in crate::command) fn text(caches: &[CacheView]) -> String {
    let mut cache_table = Table::of(["NAMESPACE", "NAME", "READY", "NODES", "IMAGES", "REASON", "MESSAGE"]);
    let mut node_table = Table::of(["CACHE", "NODE", "WARM", "IMAGE", "PHASE", "DONE", "REASON"]);
    for cache in caches {
        cache_table.row(cache_row(cache));
        for node in &cache.by_node {
            node_table.row(node_row(cache, node));
            let cold = node.images.iter().filter(|image| image.phase != ImagePhase::Warm);
            cold.for_each(|image| node_table.row(image_row(image)));
        }
    }
    if caches.iter().all(|cache| cache.by_node.is_empty()) {
        return cache_table.to_string();
    }
    format!("{cache_table}\n{node_table}")
}

fn cache_row(cache: &CacheView) -> [String; 7] {
    let CacheView { namespace, name, ready, status: _, reason, message, images, nodes, by_node: _ } = cache;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    [
        namespace.clone(),
        name.clone(),
        if *ready { "yes" } else { "no" }.to_owned(),
        nodes.map_or_else(|| NONE.to_owned(), |nodes| format!("{}/{}", nodes.ready, nodes.wanted)),
        images.to_string(),
        or_none(reason),
        or_none(message),
    ]
}

fn node_row(cache: &CacheView, node: &NodeView) -> [String; 7] {
    let warm = format!("{}/{}", node.warm(), node.images.len());
    let empty = String::new;
    [cache.full_name(), node.node.clone(), warm, empty(), empty(), empty(), empty()]
}

fn image_row(image: &ImageView) -> [String; 7] {
    let ImageView { image, phase, percent, bytes: _, digest: _, reason, message } = image;
    let why = [reason.as_deref(), message.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let done = percent.map_or_else(|| NONE.to_owned(), |percent| format!("{percent} %"));
    let why = if why.is_empty() { NONE.to_owned() } else { why };
    [String::new(), String::new(), String::new(), image.clone(), format!("{phase:?}"), done, why]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::view::tests::{cache, set};
    use super::super::view::view;
    use super::*;

    #[test]
    fn every_node_has_a_line_and_every_image_that_is_not_warm() {
        let sets = [
            set("n1", &[("a", "Warm", None), ("b", "Warm", None)]),
            set("n2", &[("a", "Pulling", Some(40)), ("b", "Failed", None)]),
        ];
        let status = json!({ "reason": "ImageCacheCreate", "message": "pulling",
            "nodes": { "wanted": 2, "ready": 1, "waiting": 0, "failed": 1, "unknown": 0 } });
        assert_eq!(
            text(&[view(&cache(&status), sets.iter())]),
            "NAMESPACE  NAME  READY  NODES  IMAGES  REASON            MESSAGE\n\
             shop       web   no     1/2    2       ImageCacheCreate  pulling\n\n\
             CACHE     NODE  WARM  IMAGE  PHASE    DONE  REASON\n\
             shop/web  n1    2/2\n\
             shop/web  n2    0/2\n                      a      Pulling  40 %  -\n                      b      Failed   -     NotFound: NotFound\n"
        );
        assert_eq!(text(&[view(&cache(&json!({})), std::iter::empty())]).lines().count(), 2);
    }
}
