//! A cache and its nodes as they are shown and written for programs. Pure.

use kube::ResourceExt as _;
use larder_api::{
    ConditionType, ImageCache, ImagePhase, ImageSeen, ImageWanted, NodeCounts, NodeImageSet, Truth,
};
use serde::Serialize;

/// A cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct CacheView {
    pub(in crate::command) namespace: String,
    pub(in crate::command) name: String,
    /// Every Ready node that it selects has all, as the controller says of the spec as it is.
    pub(in crate::command) ready: bool,
    pub(in crate::command) status: Option<String>,
    pub(in crate::command) reason: Option<String>,
    pub(in crate::command) message: Option<String>,
    pub(in crate::command) images: usize,
    /// As the controller counts them.
    pub(in crate::command) nodes: Option<NodeCounts>,
    /// What the nodes themselves say.
    pub(in crate::command) by_node: Vec<NodeView>,
}

/// A node of a cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct NodeView {
    pub(in crate::command) node: String,
    pub(in crate::command) images: Vec<ImageView>,
}

/// An image of a cache on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct ImageView {
    pub(in crate::command) image: String,
    pub(in crate::command) phase: ImagePhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::command) message: Option<String>,
}

impl CacheView {
    /// `namespace/name`.
    pub(in crate::command) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Parts of a hundred that are on nodes, and all that there are to be.
    pub(in crate::command) fn done(&self) -> (u64, u64) {
        let images = || self.by_node.iter().flat_map(|node| &node.images);
        (images().map(ImageView::done).sum(), images().map(|_| 100).sum())
    }
}

impl NodeView {
    /// How many of its images are warm.
    pub(in crate::command) fn warm(&self) -> usize {
        self.images.iter().filter(|image| image.phase == ImagePhase::Warm).count()
    }
}

impl ImageView {
    fn done(&self) -> u64 {
        match self.phase {
            ImagePhase::Warm => 100,
            ImagePhase::Pulling => {
                self.percent.and_then(|percent| u64::try_from(percent).ok()).unwrap_or(0).min(99)
            }
            _ => 0,
        }
    }
}

/// Puts a cache together with what nodes hold for it.
pub(super) fn view<'a>(cache: &ImageCache, sets: impl Iterator<Item = &'a NodeImageSet>) -> CacheView {
    let status = cache.status.clone().unwrap_or_default();
    let (namespace, name) = (cache.namespace().unwrap_or_default(), cache.name_any());
    let full_name = format!("{namespace}/{name}");
    let ready = status.conditions.iter().any(|condition| {
        condition.type_ == ConditionType::Ready.name()
            && condition.status == Truth::True.name()
            && condition.observed_generation == cache.metadata.generation
    });
    CacheView {
        namespace,
        name,
        ready,
        status: status.status,
        reason: status.reason,
        message: status.message,
        images: cache.spec.cache_spec.iter().map(|list| list.images.len()).sum(),
        nodes: status.nodes,
        by_node: sets.filter_map(|set| node(set, &full_name)).collect(),
    }
}

/// None where the node holds nothing for the cache.
fn node(set: &NodeImageSet, cache: &str) -> Option<NodeView> {
    let seen = set.status.as_ref().map(larder_api::NodeImageSetStatus::by_image).unwrap_or_default();
    let wanted = set.spec.images.iter().filter(|wanted| wanted.caches.iter().any(|name| name == cache));
    let images: Vec<_> =
        wanted.map(|wanted| image(wanted, seen.get(wanted.image.as_str()).copied())).collect();
    (!images.is_empty()).then(|| NodeView { node: set.name_any(), images })
}

fn image(wanted: &ImageWanted, seen: Option<&ImageSeen>) -> ImageView {
    let ImageSeen {
        image: _,
        phase,
        digest,
        bytes,
        percent,
        reason,
        message,
        verified_at: _,
        source: _,
        purge: _,
    } = seen.cloned().unwrap_or_default();
    ImageView { image: wanted.image.clone(), phase, percent, bytes, digest, reason, message }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A node that holds `images` for `shop/web`, each with a phase and a percentage.
    pub(in super::super) fn set(node: &str, images: &[(&str, &str, Option<i32>)]) -> NodeImageSet {
        let wanted =
            |(image, ..): &(&str, &str, Option<i32>)| json!({ "image": image, "caches": ["shop/web"] });
        let seen = |(image, phase, percent): &(&str, &str, Option<i32>)| {
            let reason = (*phase == "Failed").then_some("NotFound");
            json!({ "image": image, "phase": phase, "percent": percent, "reason": reason, "message": reason })
        };
        let (wanted, seen): (Vec<_>, Vec<_>) =
            (images.iter().map(wanted).collect(), images.iter().map(seen).collect());
        object(
            json!({ "apiVersion": "kubefledged.io/v1alpha2", "kind": "NodeImageSet", "metadata": { "name": node },
            "spec": { "images": wanted }, "status": { "images": seen } }),
        )
    }

    pub(in super::super) fn cache(status: &Value) -> ImageCache {
        object(json!({ "apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
            "metadata": { "name": "web", "namespace": "shop", "generation": 2 },
            "spec": { "cacheSpec": [{ "images": ["a:1", "b:1"] }] }, "status": status }))
    }

    fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_cache_has_the_nodes_that_hold_something_for_it() {
        let mut others = set("n3", &[("a", "Warm", None)]);
        others.spec.images[0].caches = vec!["shop/web-2".to_owned(), "other/web".to_owned()];
        let sets = [
            set("n1", &[("a", "Warm", None), ("b", "Pulling", Some(40))]),
            set("n2", &[("a", "Failed", None)]),
            others,
        ];
        let view = view(&cache(&json!({})), sets.iter());
        let nodes: Vec<_> =
            view.by_node.iter().map(|node| (node.node.as_str(), node.warm(), node.images.len())).collect();
        assert_eq!(nodes, [("n1", 1, 2), ("n2", 0, 1)]);
        assert_eq!((view.images, view.done()), (2, (140, 300)));
    }

    #[test]
    fn what_a_node_has_not_answered_is_pending() {
        let mut set = set("n1", &[("a", "Warm", None)]);
        set.status = None;
        let view = view(&cache(&json!({})), std::iter::once(&set));
        assert_eq!(view.by_node[0].images[0].phase, ImagePhase::Pending);
    }

    #[test]
    fn ready_is_said_of_the_spec_as_it_is() {
        let condition = |generation: i64| {
            json!({ "conditions": [{ "type": "Ready", "status": "True", "observedGeneration": generation, "reason": "Warm",
                "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z" }] })
        };
        assert!(view(&cache(&condition(2)), std::iter::empty()).ready);
        assert!(!view(&cache(&condition(1)), std::iter::empty()).ready);
        assert!(!view(&cache(&json!({})), std::iter::empty()).ready);
    }
}
