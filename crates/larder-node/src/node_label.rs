//! The label on the node that says how its prefetch went: `image-prefetcher.stackrox.io/<instance>` = `succeeded` or `failed`,
//! and none while it runs. Decides nothing about pods; only what a scheduler may ask for is written.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::persist::{Failure, GaveUp, Patience, persist};

const PREFIX: &str = "image-prefetcher.stackrox.io";
/// Of the name part of a label's key, in bytes.
const MAX_NAME: usize = 63;
/// Where nothing of the instance's name can stand in a label.
const FALLBACK: &str = "prefetcher";
/// For one request: an API server that is being replaced hangs, and the next one answers.
const CALL: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What kubelet sets in every pod of a cluster.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

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
    /// It is not known how the API server is reached.
    #[error("cannot set up the client of the Kubernetes API")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    pub async fn from_environment() -> Result<Option<Self>, LabelError> {
        let config = match source(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
            Source::Nowhere => return Ok(None),
            Source::Cluster => Config::incluster().map_err(setup)?,
            Source::File => {
                let file = env::var_os("KUBECONFIG").unwrap_or_default();
                read(&PathBuf::from(file)).await?
            }
        };
        Ok(Some(Self::new(Client::try_from(config).map_err(setup)?)))
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
        let patience = Patience { limit, call: CALL, first_wait: FIRST_WAIT, longest_wait: LONGEST_WAIT };
        let patched = persist(patience, || async {
            let patched = nodes.patch(node, &PatchParams::default(), &patch).await;
            patched.map_err(|error| {
                if is_lasting(&error) { Failure::Lasting(error) } else { Failure::Passing(error) }
            })
        });
        let node = node.to_owned();
        match patched.await {
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

/// How the API server is found.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Cluster,
    File,
    Nowhere,
}

fn source(is_set: impl Fn(&str) -> bool) -> Source {
    match () {
        () if is_set(IN_CLUSTER) => Source::Cluster,
        () if is_set("KUBECONFIG") => Source::File,
        () => Source::Nowhere,
    }
}

async fn read(path: &Path) -> Result<Config, LabelError> {
    let file = Kubeconfig::read_from(path).map_err(setup)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(setup)
}

fn setup(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LabelError {
    LabelError::Setup(error.into())
}

/// Whether the API server understood the request and does not want it; too many requests and its own trouble pass.
fn is_lasting(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429)
        }
        _ => false,
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

    #[test]
    fn a_pod_asks_its_own_cluster_whatever_else_is_set() {
        assert_eq!(source(|_| true), Source::Cluster);
        assert_eq!(source(|name| name == "KUBECONFIG"), Source::File);
        assert_eq!(source(|_| false), Source::Nowhere);
    }

    #[test]
    fn only_what_the_request_itself_causes_is_lasting() {
        let error = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            kube::Error::Api(Box::new(status))
        };
        for code in [400, 401, 403, 404, 422] {
            assert!(is_lasting(&error(code)), "{code}");
        }
        for code in [408, 409, 429, 500, 503] {
            assert!(!is_lasting(&error(code)), "{code}");
        }
    }
}
