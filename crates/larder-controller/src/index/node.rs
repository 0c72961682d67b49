//! One Node: what selectors and judgement need, and what was written on it last.

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use larder_api::names::{NODE_CONDITION, NODE_WARM};

use super::Labels;
use super::keep::Entry;

/// What is kept of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    /// Its kubelet says that it takes pods.
    pub(crate) ready: bool,
    /// It is not to get new pods.
    pub(crate) cordoned: bool,
    /// The status of its condition `ImagesWarm`.
    pub(crate) condition: Option<String>,
}

impl Entry for Node {
    type Object = v1::Node;
    type Key = String;

    fn key(meta: &ObjectMeta) -> String {
        meta.name.clone().unwrap_or_default()
    }

    fn meta(object: &v1::Node) -> &ObjectMeta {
        &object.metadata
    }

    fn of(object: v1::Node) -> Self {
        let v1::Node { metadata, spec, status } = object;
        let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
        let condition = |kind: &str| {
            let condition = conditions.iter().find(|condition| condition.type_ == kind);
            condition.map(|condition| condition.status.clone())
        };
        Self {
            uid: metadata.uid.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            ready: condition("Ready").as_deref() == Some("True"),
            cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
            condition: condition(NODE_CONDITION),
        }
    }
}

impl Node {
    /// Whether it can be expected to become warm: others are waited for.
    pub(crate) fn is_asked(&self) -> bool {
        self.ready && !self.cordoned
    }

    /// Whether label and condition say of it that it is warm, or is not, or neither says anything.
    pub(crate) fn says(&self, warm: Option<bool>) -> bool {
        let label = self.labels.get(NODE_WARM).map(String::as_str);
        let told = match warm {
            Some(true) => (Some("true"), Some("True")),
            Some(false) => (Some("false"), Some("False")),
            None => (None, None),
        };
        (label, self.condition.as_deref()) == told
    }
}
