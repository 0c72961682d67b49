//! One write, its answer, and what kind of failure it was. Server-side apply where the controller owns fields; a patch that is void on
//! any other version where it only adds or takes away in metadata that others own too.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use larder_api::{ImageCache, ImageCacheStatus, NodeImageSet, NodeImageSetSpec, names};
use serde_json::{Value, json};

use super::events::Events;
use super::watch::Seen;
use crate::plan::{CacheStep, CacheWrite, NodeWrite, Plan, SetStep, SetWrite};
use crate::{CacheKey, index::Change};

/// For one request: an API server that is being replaced hangs, and the next one answers.
const CALL: Duration = Duration::from_secs(10);

/// One write of a plan.
#[derive(Debug)]
pub(super) enum Write {
    Set(SetWrite),
    Cache(CacheWrite),
    Node(NodeWrite),
}

/// What is written, for pacing: a cache's status apart from its metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Set(String),
    Cache(CacheKey),
    CacheStatus(CacheKey),
    Node(String),
}

/// What the API server answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// The object as it is now, as if a watch had said so.
    Seen(Seen),
    /// The object is not there: its watch will say so.
    Gone,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The API server understood, and does not want it.
    #[error(transparent)]
    Refused(kube::Error),
    /// Another request may succeed, and so may this one later.
    #[error(transparent)]
    Trouble(kube::Error),
    #[error("no answer within {} s", CALL.as_secs())]
    TimedOut,
}

impl Target {
    /// What kind of object it is, for logs and metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Cache(_) => "cache",
            Self::CacheStatus(_) => "cache_status",
            Self::Node(_) => "node",
        }
    }

    /// The object's name.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Set(name) | Self::Node(name) => name.clone(),
            Self::Cache(key) | Self::CacheStatus(key) => key.to_string(),
        }
    }
}

/// The writes of a plan in the order that matters: what nodes are asked first, what people read last.
pub(super) fn in_order(plan: Plan) -> impl Iterator<Item = Write> {
    let Plan { sets, caches, nodes, next: _ } = plan;
    let sets = sets.into_iter().map(Write::Set);
    sets.chain(caches.into_iter().map(Write::Cache)).chain(nodes.into_iter().map(Write::Node))
}

impl Write {
    pub(super) fn target(&self) -> Target {
        match self {
            Self::Set(write) => Target::Set(write.node.clone()),
            Self::Cache(CacheWrite { cache, step: CacheStep::Status(_), .. }) => {
                Target::CacheStatus(cache.clone())
            }
            Self::Cache(write) => Target::Cache(write.cache.clone()),
            Self::Node(write) => Target::Node(write.node.clone()),
        }
    }

    /// Carries it out, within `CALL`.
    pub(super) async fn carry_out(self, client: Client, events: Events) -> Result<Answer, Failure> {
        let write = async {
            match self {
                Self::Set(SetWrite { node, step }) => set(client, node, step).await,
                Self::Cache(write) => cache(client, write, events).await,
                Self::Node(write) => node(client, write).await,
            }
        };
        match tokio::time::timeout(CALL, write).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Answer::Gone),
            Ok(Err(error)) => Err(failure(error)),
            Err(_) => Err(Failure::TimedOut),
        }
    }
}

fn failure(error: kube::Error) -> Failure {
    match &error {
        kube::Error::Api(status)
            if (400..500).contains(&status.code) && !matches!(status.code, 408 | 429) =>
        {
            Failure::Refused(error)
        }
        _ => Failure::Trouble(error),
    }
}

fn owning() -> PatchParams {
    PatchParams::apply(names::CONTROLLER).force()
}

async fn set(client: Client, node: String, step: SetStep) -> kube::Result<Answer> {
    let sets: Api<NodeImageSet> = Api::all(client);
    match step {
        SetStep::Apply { owner, spec } => {
            let set = set_object(&node, &owner, &spec);
            let set = sets.patch(&node, &owning(), &Patch::Apply(set)).await?;
            Ok(Answer::Seen(Seen::Set(Box::new(Change::Applied(set)))))
        }
        SetStep::Delete { uid } => {
            let exactly = Preconditions { uid: uid.clone(), resource_version: None };
            sets.delete(&node, &DeleteParams::default().preconditions(exactly)).await?;
            let mut gone = NodeImageSet::new(&node, NodeImageSetSpec::default());
            gone.metadata.uid = uid;
            Ok(Answer::Seen(Seen::Set(Box::new(Change::Deleted(gone)))))
        }
    }
}

fn set_object(node: &str, owner: &str, spec: &NodeImageSetSpec) -> Value {
    json!({
        "apiVersion": format!("{}/{}", larder_api::GROUP, larder_api::VERSION),
        "kind": "NodeImageSet",
        "metadata": {
            "name": node,
            "labels": { (names::MANAGED_BY): names::CONTROLLER },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": node, "uid": owner }],
        },
        "spec": spec,
    })
}

async fn cache(client: Client, write: CacheWrite, events: Events) -> kube::Result<Answer> {
    let CacheWrite { cache: CacheKey { namespace, name }, version, step } = write;
    let caches: Api<ImageCache> = Api::namespaced(client, &namespace);
    let metadata = match step {
        CacheStep::Status(status) => {
            let object = status_object(&namespace, &name, &status);
            let cache = caches.patch_status(&name, &owning(), &Patch::Apply(object)).await?;
            events.tell(&cache).await;
            return Ok(of_cache(cache));
        }
        CacheStep::Finalizers(finalizers) => json!({ "finalizers": finalizers, "resourceVersion": version }),
        CacheStep::TakeOff(name) => json!({ "annotations": { (name): null }, "resourceVersion": version }),
    };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let params = PatchParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PatchParams::default() };
    caches.patch(&name, &params, &patch).await.map(of_cache)
}

fn of_cache(cache: ImageCache) -> Answer {
    Answer::Seen(Seen::Cache(Box::new(Change::Applied(cache))))
}

fn status_object(namespace: &str, name: &str, status: &ImageCacheStatus) -> Value {
    json!({
        "apiVersion": format!("{}/{}", larder_api::GROUP, larder_api::VERSION),
        "kind": "ImageCache",
        "metadata": { "namespace": namespace, "name": name },
        "status": status,
    })
}

/// Label and condition in one request: a Node's labels may be written with its status.
async fn node(client: Client, write: NodeWrite) -> kube::Result<Answer> {
    let NodeWrite { node, warm, since } = write;
    let labels = warm.map(|warm| (names::NODE_WARM, warm.to_string()));
    let labels: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
    let conditions: Vec<Value> = warm.map(|warm| condition(warm, &since)).into_iter().collect();
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node, "labels": labels },
        "status": { "conditions": conditions },
    });
    let nodes: Api<Node> = Api::all(client);
    let node = nodes.patch_status(&node, &owning(), &Patch::Apply(object)).await?;
    Ok(Answer::Seen(Seen::Node(Box::new(Change::Applied(node)))))
}

fn condition(warm: bool, since: &Time) -> Value {
    let (status, reason, message) = if warm {
        ("True", "Warm", "the runtime has confirmed every image that the node should hold")
    } else {
        ("False", "NotWarm", "images that the node should hold are missing, or not confirmed")
    };
    json!({
        "type": names::NODE_CONDITION, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since, "lastHeartbeatTime": since,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_still_succeed_with_is_trouble_and_no_refusal() {
        let error = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            failure(kube::Error::Api(Box::new(status)))
        };
        for code in [400, 403, 409, 413, 422] {
            assert!(matches!(error(code), Failure::Refused(_)), "{code}");
        }
        for code in [408, 429, 500, 503] {
            assert!(matches!(error(code), Failure::Trouble(_)), "{code}");
        }
    }
}
