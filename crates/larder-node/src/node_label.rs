//! The label on the node that says how its prefetch went: `image-prefetcher.stackrox.io/<instance>` = `succeeded` or `failed`,
//! and none while it runs. Decides nothing about pods; only what a scheduler may ask for is written.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::kubernetes::{Cluster, SetupError, ask};
use crate::persist::GaveUp;

const PREFIX: &str = "image-prefetcher.stackrox.io";
/// Of the name part of a label's key, in bytes.
const MAX_NAME: usize = 63;
/// Where nothing of the instance's name can stand in a label.
const FALLBACK: &str = "prefetcher";

/// How the prefetch of one instance on this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// It has begun: what an earlier run said is true no more, so the label goes.
    Running,
    /// Every image is present.
    Succeeded,
    /// One at least is not.
    Failed,
}

/// Sets labels on nodes.
#[derive(Clone)]
pub struct NodeLabeller {
    client: Client,
}

/// Why the label does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The API server will never do it.
    #[error("the API server refuses label {label} on node {node}")]
    Refused {
        /// The label's key.
        label: String,
        /// The node.
        node: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something between here and the store changed the label.
    #[error("label {label} on node {node} is {found:?}, though {wanted:?} was written")]
    Changed {
        /// The label's key.
        label: String,
        /// The node.
        node: String,
        /// What was written.
        wanted: Option<&'static str>,
        /// What the API server answered.
        found: Option<String>,
    },
    /// The API server did not do it in time.
    #[error("the API server did not set label {label} on node {node} within {limit:?}, asked {calls} times")]
    TimedOut {
        /// The label's key.
        label: String,
        /// The node.
        node: String,
        /// The time that there was.
        limit: Duration,
        /// How often it was tried.
        calls: u32,
        /// What it said last, if anything.
        #[source]
        last: Option<Box<kube::Error>>,
    },
}

impl Prefetch {
    /// The label's value; none where there is to be no label.
    fn value(self) -> Option<&'static str> {
        match self {
            Self::Running => None,
            Self::Succeeded => Some("succeeded"),
            Self::Failed => Some("failed"),
        }
    }
}

impl std::fmt::Debug for NodeLabeller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeLabeller").finish_non_exhaustive()
    }
}

impl NodeLabeller {
    /// With the client's address and identity.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// As the pod's service account in a cluster, or else as `KUBECONFIG` says; none where neither is there. Must be called in
    /// a tokio runtime.
    pub async fn from_environment() -> Result<Option<Self>, SetupError> {
        Ok(Cluster::from_environment().await?.map(|cluster| Self::new(cluster.client)))
    }

    /// Makes the label of `instance` on `node` say how its prefetch is, within `limit`.
    pub async fn set(
        &self,
        node: &str,
        instance: &str,
        prefetch: Prefetch,
        limit: Duration,
    ) -> Result<(), LabelError> {
        let (label, wanted) = (label(instance), prefetch.value());
        let patch = Patch::Merge(json!({ "metadata": { "labels": { (label.as_str()): wanted } } }));
        let nodes: Api<Node> = Api::all(self.client.clone());
        let parameters = PatchParams::default();
        let patched = ask(limit, || nodes.patch(node, &parameters, &patch)).await;
        let node = node.to_owned();
        match patched {
            Ok(patched) => {
                let found = patched.metadata.labels.unwrap_or_default().remove(&label);
                if found.as_deref() == wanted {
                    return Ok(());
                }
                Err(LabelError::Changed { label, node, wanted, found })
            }
            Err(GaveUp::Lasting(source)) => {
                Err(LabelError::Refused { label, node, source: Box::new(source) })
            }
            Err(GaveUp::TimedOut { calls, last }) => {
                Err(LabelError::TimedOut { label, node, limit, calls, last: last.map(Box::new) })
            }
        }
    }
}

/// The label's key for `instance`, as image-prefetcher writes it.
fn label(instance: &str) -> String {
    let mut name = String::new();
    for c in instance.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            name.push(c);
        } else if !name.ends_with('\0') {
            name.push('\0');
        }
    }
    let mut name = name.replace('\0', "-");
    name.truncate(MAX_NAME);
    let name = name.trim_matches(['.', '_', '-']);
    format!("{PREFIX}/{}", if name.is_empty() { FALLBACK } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_becomes_a_label_as_in_image_prefetcher() {
        let long = "x".repeat(80);
        let table = [
            ("stackrox-images", "stackrox-images"),
            ("team/a b", "team-a-b"),
            ("a//::b", "a-b"),
            ("a-/b", "a--b"),
            ("ünicode", "nicode"),
            ("..a_b.c--", "a_b.c"),
            ("", FALLBACK),
            ("/-._", FALLBACK),
            (&long, &long[..63]),
        ];
        for (instance, name) in table {
            assert_eq!(label(instance), format!("{PREFIX}/{name}"), "{instance}");
        }
        let dash_at_the_cut = format!("{}-tail", "x".repeat(62));
        assert_eq!(label(&dash_at_the_cut), format!("{PREFIX}/{}", "x".repeat(62)));
    }
}
