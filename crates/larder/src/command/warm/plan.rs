//! What has to be written so that a cache has what is wished for: nothing is ever taken away. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use larder_api::{
    CacheList, ImageCache, ImageCacheSpec, Invalid, NodeSelector, PullBy, SecretName, names, validate,
};
use larder_core::ImageRef;
use serde_json::Value;

use crate::cli::TypedImage;

/// What a command line asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) images: Vec<TypedImage>,
    /// Labels of the nodes; none: every node.
    pub(super) nodes: BTreeMap<String, String>,
    pub(super) pull_secrets: Vec<String>,
    pub(super) pull_by: Option<PullBy>,
    pub(super) max_parallel_nodes: Option<IntOrString>,
}

/// What to write.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// A new cache.
    Create(Box<ImageCacheSpec>),
    /// A larger spec.
    Extend(Box<ImageCacheSpec>),
    /// It was purged, and has all in its spec: a refresh, with this value, brings it back.
    Wake(String),
    /// It has all.
    Nothing(Box<ImageCache>),
}

/// Why nothing can be written.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(super) enum PlanError {
    /// It goes away.
    #[error("it is being deleted: wait until it is gone, or choose another --name")]
    Deleting,
    /// The result would break a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Change {
    /// For people.
    pub(super) fn done(&self) -> &'static str {
        match self {
            Self::Create(_) => "created",
            Self::Extend(_) => "extended",
            Self::Wake(_) => "refreshed",
            Self::Nothing(_) => "unchanged",
        }
    }
}

/// Compares what is there with the wish.
pub(super) fn plan(seen: Option<&ImageCache>, wish: &Wish) -> Result<Change, PlanError> {
    let Some(cache) = seen else {
        let spec = extended(empty(), wish);
        validate(&spec)?;
        return Ok(Change::Create(Box::new(spec)));
    };
    if cache.metadata.deletion_timestamp.is_some() {
        return Err(PlanError::Deleting);
    }
    let spec = extended(cache.spec.clone(), wish);
    validate(&spec)?;
    Ok(match () {
        () if spec != cache.spec => Change::Extend(Box::new(spec)),
        () if is_purged(cache) => Change::Wake(wake_value(cache)),
        () => Change::Nothing(Box::new(cache.clone())),
    })
}

fn empty() -> ImageCacheSpec {
    ImageCacheSpec {
        cache_spec: Vec::new(),
        image_pull_secrets: Vec::new(),
        pull_by: None,
        deadline: None,
        max_parallel_nodes: None,
        max_pulls_per_registry: None,
        pin: None,
        pull_policy: None,
        tolerations: Vec::new(),
        priority_class_name: None,
    }
}

fn extended(mut spec: ImageCacheSpec, wish: &Wish) -> ImageCacheSpec {
    let Wish { images, nodes, pull_secrets, pull_by, max_parallel_nodes } = wish;
    let selector = (!nodes.is_empty())
        .then(|| nodes.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect());
    let selector = selector.map(Value::Object);
    let list = list_for(&mut spec.cache_spec, selector);
    let mut there: BTreeSet<String> = list.images.iter().filter_map(|text| normal(text)).collect();
    list.images.extend(
        images.iter().filter(|typed| there.insert(typed.image.to_string())).map(|typed| typed.text.clone()),
    );
    for name in pull_secrets {
        let secret = SecretName { name: name.clone() };
        if !spec.image_pull_secrets.contains(&secret) {
            spec.image_pull_secrets.push(secret);
        }
    }
    spec.pull_by = pull_by.or(spec.pull_by);
    spec.max_parallel_nodes = max_parallel_nodes.clone().or(spec.max_parallel_nodes);
    spec
}

/// The list for these nodes, however its selector is written; a new one if there is none.
fn list_for(lists: &mut Vec<CacheList>, selector: Option<Value>) -> &mut CacheList {
    let wanted = NodeSelector::parse(selector.as_ref());
    let same =
        |list: &CacheList| wanted.is_ok() && NodeSelector::parse(list.node_selector.as_ref()) == wanted;
    let at = lists.iter().position(same).unwrap_or(lists.len());
    if at == lists.len() {
        lists.push(CacheList { images: Vec::new(), node_selector: selector });
    }
    &mut lists[at]
}

fn normal(text: &str) -> Option<String> {
    text.parse::<ImageRef>().ok().map(|image| image.to_string())
}

/// Its images have left the nodes, or are about to.
fn is_purged(cache: &ImageCache) -> bool {
    let purged = cache.status.as_ref().and_then(|status| status.purged_generation);
    cache.annotations().contains_key(names::PURGE)
        || (purged.is_some() && purged == cache.metadata.generation)
}

/// Each value counts once: the resource version is never the same twice.
fn wake_value(cache: &ImageCache) -> String {
    format!("warm-{}", cache.resource_version().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use larder_api::ImageCacheStatus;
    use serde_json::json;

    use super::*;

    fn wish(images: &[&str], nodes: &[(&str, &str)]) -> Wish {
        Wish {
            images: images.iter().map(|text| text.parse().unwrap()).collect(),
            nodes: nodes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Wish::default()
        }
    }

    fn cache(spec: Value) -> ImageCache {
        let mut cache = ImageCache::new("warm", serde_json::from_value(spec).unwrap());
        cache.metadata.resource_version = Some("7".to_owned());
        cache.metadata.generation = Some(3);
        cache
    }

    fn lists(change: Change) -> Value {
        match change {
            Change::Create(spec) | Change::Extend(spec) => serde_json::to_value(spec.cache_spec).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_cache_has_each_image_once() {
        let created =
            plan(None, &wish(&["redis:7", "docker.io/library/redis:7", "a.io/b"], &[("zone", "a")])).unwrap();
        assert_eq!(
            lists(created),
            json!([{ "images": ["redis:7", "a.io/b"], "nodeSelector": { "zone": "a" } }])
        );
    }

    #[test]
    fn images_go_to_the_list_for_the_same_nodes_however_it_is_written() {
        let spec =
            json!({ "cacheSpec": [{ "images": ["a:1"] }, { "images": ["b:1"], "nodeSelector": "zone=a" }] });
        let table = [
            (
                wish(&["c:1"], &[]),
                json!([{ "images": ["a:1", "c:1"] }, { "images": ["b:1"], "nodeSelector": "zone=a" }]),
            ),
            (
                wish(&["c:1"], &[("zone", "a")]),
                json!([{ "images": ["a:1"] }, { "images": ["b:1", "c:1"], "nodeSelector": "zone=a" }]),
            ),
            (
                wish(&["b:1"], &[("zone", "b")]),
                json!([{ "images": ["a:1"] }, { "images": ["b:1"], "nodeSelector": "zone=a" },
                    { "images": ["b:1"], "nodeSelector": { "zone": "b" } }]),
            ),
        ];
        for (wish, expected) in table {
            assert_eq!(lists(plan(Some(&cache(spec.clone())), &wish).unwrap()), expected, "{wish:?}");
        }
    }

    #[test]
    fn what_is_there_is_not_written_again_and_what_is_not_asked_for_stays() {
        let spec = json!({ "cacheSpec": [{ "images": ["docker.io/library/a:1"] }], "pullBy": "Job",
            "imagePullSecrets": [{ "name": "s" }], "deadline": "1m" });
        let there = cache(spec);
        let mut wish = wish(&["a:1"], &[]);
        wish.pull_secrets = vec!["s".to_owned()];
        assert_eq!(plan(Some(&there), &wish), Ok(Change::Nothing(Box::new(there.clone()))));
        wish.pull_secrets.push("t".to_owned());
        wish.max_parallel_nodes = Some(IntOrString::String("10%".to_owned()));
        let mut expected = there.spec.clone();
        expected.image_pull_secrets.push(SecretName { name: "t".to_owned() });
        expected.max_parallel_nodes.clone_from(&wish.max_parallel_nodes);
        assert_eq!(plan(Some(&there), &wish), Ok(Change::Extend(Box::new(expected))));
    }

    #[test]
    fn a_purged_cache_wakes_and_one_that_goes_is_left_alone() {
        let mut purged = cache(json!({ "cacheSpec": [{ "images": ["a:1"] }] }));
        purged.status = Some(ImageCacheStatus { purged_generation: Some(3), ..ImageCacheStatus::default() });
        assert_eq!(plan(Some(&purged), &wish(&["a:1"], &[])), Ok(Change::Wake("warm-7".to_owned())));
        assert!(matches!(plan(Some(&purged), &wish(&["b:1"], &[])), Ok(Change::Extend(_))));
        purged.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap());
        assert_eq!(plan(Some(&purged), &wish(&["a:1"], &[])), Err(PlanError::Deleting));
    }

    #[test]
    fn what_breaks_a_rule_is_not_written() {
        let pinned = cache(json!({ "cacheSpec": [{ "images": ["a:1"] }], "pin": true }));
        let wish = Wish { pull_by: Some(PullBy::Job), ..wish(&["a:1"], &[]) };
        assert_eq!(plan(Some(&pinned), &wish), Err(PlanError::Invalid(Invalid::PinByJob)));
    }
}
