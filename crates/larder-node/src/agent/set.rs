//! This node's `NodeImageSet` at the API server: its spec is watched, its status is written. The way there may be away.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _};
use larder_api::{NodeImageSet, NodeImageSetStatus, names};
use serde_json::json;
use tokio::time::timeout;

use super::spec::Spec;
use crate::causes::with_causes;

/// For one write: an API server that is being replaced hangs, and the next one answers.
const WRITE: Duration = Duration::from_secs(10);

type Watched = Result<Option<DeserializeGuard<NodeImageSet>>, watcher::Error>;

/// The set of this node.
pub(super) struct Set {
    api: Api<NodeImageSet>,
    node: String,
    changes: Pin<Box<dyn Stream<Item = Watched>>>,
}

impl Set {
    pub(super) fn of(client: Client, node: &str) -> Self {
        let watched: Api<DeserializeGuard<NodeImageSet>> = Api::all(client.clone());
        let changes = watcher::watch_object(watched, node).default_backoff().boxed_local();
        Self { api: Api::all(client), node: node.to_owned(), changes }
    }

    /// The next that is heard of the set; none where there is no set. What cannot be understood, or is not heard, is told and
    /// skipped. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<NodeImageSet> {
        loop {
            match self.changes.next().await {
                Some(Ok(Some(DeserializeGuard(Ok(set))))) => return Some(set),
                Some(Ok(Some(DeserializeGuard(Err(error))))) => {
                    tracing::warn!(%error, "the set cannot be understood: the last one that could counts");
                }
                Some(Ok(None)) => return None,
                Some(Err(error)) => {
                    tracing::warn!(
                        error = with_causes(&error),
                        "the set is not heard of: the last one counts"
                    );
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Writes the status of the set that `spec` is of; one that was made anew under its name is left alone.
    pub(super) fn write(
        &self,
        spec: &Spec,
        status: NodeImageSetStatus,
    ) -> impl Future<Output = Result<NodeImageSetStatus, String>> + use<> {
        let (api, node) = (self.api.clone(), self.node.clone());
        let patch = json!({
            "apiVersion": NodeImageSet::api_version(&()),
            "kind": NodeImageSet::kind(&()),
            "metadata": { "name": node, "uid": spec.uid },
            "status": status,
        });
        async move {
            let parameters = PatchParams::apply(names::AGENT).force();
            let patch = Patch::Apply(&patch);
            match timeout(WRITE, api.patch_status(&node, &parameters, &patch)).await {
                Ok(Ok(_)) => Ok(status),
                Ok(Err(error)) => Err(with_causes(&error)),
                Err(_) => Err(format!("the API server did not answer within {WRITE:?}")),
            }
        }
    }
}
