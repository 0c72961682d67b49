//! One `NodeImageSet`: what was asked of the node and when, and what its agent answered and when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use larder_api::{NodeImageSet, NodeImageSetSpec, NodeImageSetStatus, names};

use super::keep::Entry;

/// What is kept of a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    pub(crate) uid: Option<String>,
    /// The node that it belongs to; another node of the same name is not it.
    pub(crate) owner: Option<String>,
    pub(crate) generation: i64,
    pub(crate) spec: NodeImageSetSpec,
    pub(crate) status: NodeImageSetStatus,
    /// The last word of either side: of the controller or of the agent.
    pub(crate) last_word: Option<Time>,
}

impl Entry for Set {
    type Object = NodeImageSet;
    type Key = String;

    fn key(meta: &ObjectMeta) -> String {
        meta.name.clone().unwrap_or_default()
    }

    fn meta(object: &NodeImageSet) -> &ObjectMeta {
        &object.metadata
    }

    fn of(object: NodeImageSet) -> Self {
        let NodeImageSet { metadata, spec, status } = object;
        let fields = metadata.managed_fields.unwrap_or_default();
        Self {
            uid: metadata.uid,
            owner: metadata.owner_references.unwrap_or_default().into_iter().next().map(|owner| owner.uid),
            generation: metadata.generation.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
            last_word: fields.into_iter().filter(is_of_ours).filter_map(|entry| entry.time).max(),
        }
    }
}

fn is_of_ours(entry: &ManagedFieldsEntry) -> bool {
    matches!(entry.manager.as_deref(), Some(names::CONTROLLER | names::AGENT))
}

impl Set {
    /// Whether the agent has seen the spec that is there now.
    pub(crate) fn is_answered(&self) -> bool {
        self.status.observed_generation.is_some_and(|observed| observed >= self.generation)
    }
}
