//! `ImageCache`: images per set of nodes, as users declare them, and what became of them. Manifests of kube-fledged's releases and of
//! its design document apply unchanged; what is ours is optional.

#![allow(
    clippy::duplicated_attributes,
    unreachable_pub,
    reason = "printer columns repeat a type; the derive makes pub kinds in this private module"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a cache wants.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "kubefledged.io",
    version = "v1alpha2",
    kind = "ImageCache",
    plural = "imagecaches",
    singular = "imagecache",
    shortname = "ic",
    namespaced,
    derive = "PartialEq",
    status = "ImageCacheStatus",
    printcolumn(name = "Images", type_ = "integer", json_path = ".status.images"),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        json_path = ".status.nodesReady",
        description = "warm/wanted"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.pin) && self.pin && has(self.pullBy) && self.pullBy == 'Job')")
        .message("pin needs the runtime's socket: pullBy must be Agent")
)]
pub struct ImageCacheSpec {
    /// Lists of images, each with the nodes that it is for.
    #[schemars(length(min = 1))]
    pub cache_spec: Vec<CacheList>,
    /// Secrets of the cache's namespace that hold registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<SecretName>,
    /// Who pulls: the agent on each node through its runtime (the default), or the kubelet by a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_by: Option<PullBy>,
    /// How long a pull may take before it counts as failed, such as `5m`; it goes on being tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]*)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("deadline must be more than 0s"))]
    pub deadline: Option<String>,
    /// How many nodes pull at the same time: a number, or a share of the cache's nodes such as `10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')")
            .message("maxParallelNodes must be 1 or more, or 1% to 100%")
    )]
    pub max_parallel_nodes: Option<IntOrString>,
    /// How many pulls from one registry are under way at the same time, in the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_pulls_per_registry: Option<i32>,
    /// Keep the kubelet's garbage collection away from the images. Only the agent can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
    /// Whether a refresh asks the registry again for what a node has. `latest`, or no tag, is always asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// For pull Jobs: the taints that they may run beside. None given: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// For pull Jobs: their priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

/// Images for one set of nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheList {
    /// References to images; each once.
    #[schemars(length(min = 1), inner(length(min = 1, max = 512), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub images: Vec<String>,
    /// Labels that a node must have: a map, or text such as `zone=a`. None: every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_value")]
    pub node_selector: Option<Value>,
}

/// A field without a type: a map for the releases, a text for the design document. The controller checks it.
fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Labels that a node must have: a map, or text such as `zone=a`. None: every node.",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct SecretName {
    /// Its name.
    pub name: String,
}

/// Who pulls.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
pub enum PullBy {
    /// The agent on the node, through the runtime's socket.
    #[default]
    Agent,
    /// The kubelet, for a pod of a Job on the node.
    Job,
}

/// Whether what is there is pulled again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum PullPolicy {
    /// Only what is not there, and moving tags.
    #[default]
    IfNotPresent,
    /// At each refresh.
    Always,
}

/// What became of a cache. The first six fields are the releases'.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageCacheStatus {
    /// A `CacheStatus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// A `CacheReason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the action under way, or the last one, began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the last action ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// By image as the spec writes it: the nodes where it is not, and why. At most `MAX_FAILURES` nodes in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, Vec<Failure>>,
    /// The generation of the spec that all this tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Progressing, Degraded, and what else is to be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many images the cache names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<i32>,
    /// The nodes that its selectors match, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// `<warm>/<wanted>`, for a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_ready: Option<String>,
    /// Images that a purge left on nodes, as something used them, or they were there before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptImage>,
    /// The generation that was purged; the cache holds nothing until an edit or a refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_generation: Option<i64>,
    /// The refresh under way: the annotation's value, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
}

/// A refresh that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Refresh {
    /// The annotation's value.
    pub value: String,
    /// What nodes confirmed before does not count.
    pub since: Time,
}

/// Why one node is without an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Failure {
    /// The node.
    pub node: String,
    /// One word.
    pub reason: String,
    /// The runtime's, or the kubelet's, own words, cut to a length.
    pub message: String,
}

/// Nodes of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct NodeCounts {
    /// Selected.
    pub wanted: i32,
    /// All that they should hold is warm.
    pub ready: i32,
    /// Not Ready themselves, or cordoned, and not warm: waited for.
    pub waiting: i32,
    /// Asked, and something failed.
    pub failed: i32,
    /// Their last word is overdue.
    pub unknown: i32,
}

/// An image that a purge left.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct KeptImage {
    /// As the spec wrote it.
    pub image: String,
    /// On how many nodes.
    pub nodes: i32,
    /// Some of them by name.
    pub some: Vec<String>,
    /// Why, on the first of them.
    pub message: String,
}

/// `status.status`, in the releases' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// An action is under way.
    Processing,
    /// It ended well.
    Succeeded,
    /// It did not.
    Failed,
    /// Nobody can say.
    Unknown,
    /// It was given up.
    Aborted,
    /// There was nothing to do.
    NoImagesPulledOrDeleted,
}

impl CacheStatus {
    /// As in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Processing => "Processing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
            Self::Aborted => "Aborted",
            Self::NoImagesPulledOrDeleted => "NoImagesPulledOrDeleted",
        }
    }
}

/// `status.reason`, in the releases' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheReason {
    /// The cache is new.
    ImageCacheCreate,
    /// It was edited.
    ImageCacheUpdate,
    /// It is looked at again.
    ImageCacheRefresh,
    /// Its images leave the nodes.
    ImageCachePurge,
    /// The same, as it is deleted.
    ImageCacheDelete,
    /// A node's pull failed.
    ImagePullFailedOnSomeNodes,
    /// A node does not say.
    ImagePullStatusUnknown,
    /// An image could not be removed from a node.
    ImageDeleteFailedForSomeImages,
    /// The spec breaks a rule.
    CacheSpecValidationFailed,
}

impl CacheReason {
    /// As in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageCacheCreate => "ImageCacheCreate",
            Self::ImageCacheUpdate => "ImageCacheUpdate",
            Self::ImageCacheRefresh => "ImageCacheRefresh",
            Self::ImageCachePurge => "ImageCachePurge",
            Self::ImageCacheDelete => "ImageCacheDelete",
            Self::ImagePullFailedOnSomeNodes => "ImagePullFailedOnSomeNodes",
            Self::ImagePullStatusUnknown => "ImagePullStatusUnknown",
            Self::ImageDeleteFailedForSomeImages => "ImageDeleteFailedForSomeImages",
            Self::CacheSpecValidationFailed => "CacheSpecValidationFailed",
        }
    }
}
