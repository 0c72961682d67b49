//! `NodeImageSet`: one per node and named after it. The controller writes what the node should hold, the node's agent what its
//! runtime says.

#![allow(
    clippy::duplicated_attributes,
    unreachable_pub,
    reason = "printer columns repeat a type; the derive makes pub kinds in this private module"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PullBy, PullPolicy};

/// What a node should hold.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "kubefledged.io",
    version = "v1alpha2",
    kind = "NodeImageSet",
    plural = "nodeimagesets",
    singular = "nodeimageset",
    shortname = "nis",
    derive = "PartialEq",
    status = "NodeImageSetStatus",
    printcolumn(name = "Warm", type_ = "string", json_path = ".status.warm", description = "warm/wanted"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NodeImageSetSpec {
    /// Ordered by image; each once. Written as a whole: what others put in goes with the next write.
    #[serde(default)]
    pub images: Vec<ImageWanted>,
    /// Moving tags, and all with the policy Always, are asked for again after so many seconds. None: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<i64>,
}

/// One image that a node should hold, or let go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageWanted {
    /// The normalised reference: `docker.io/library/redis:7`.
    pub image: String,
    /// Who pulls it.
    #[serde(default)]
    pub pull_by: PullBy,
    /// Whether what is there is pulled again.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Whether the runtime's record is pinned.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pin: bool,
    /// Credentials to try, by reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<SecretRef>,
    /// How long one pull may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<i64>,
    /// What was confirmed before this moment must be confirmed, and by its policy pulled, again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_after: Option<Time>,
    /// The image is to leave the node. Each value is acted on once: an image in use then is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<String>,
    /// `namespace/name` of each cache that names it, ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A Secret, which its reader may or may not be allowed to see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub struct SecretRef {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the node's runtime says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeImageSetStatus {
    /// The generation of the spec that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Progressing, Degraded, and pressure on the disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Ordered by image; each once. Written as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageSeen>,
    /// `<warm>/<wanted>`, for a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<String>,
}

impl NodeImageSetStatus {
    /// The images by reference.
    pub fn by_image(&self) -> BTreeMap<&str, &ImageSeen> {
        self.images.iter().map(|seen| (seen.image.as_str(), seen)).collect()
    }
}

/// Where an image of a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ImagePhase {
    /// Not looked at, or waiting for its turn.
    #[default]
    Pending,
    /// The runtime is pulling it.
    Pulling,
    /// The runtime has it.
    Warm,
    /// A pull failed. It is tried again later unless the reason is permanent.
    Failed,
    /// A purge removed it, or it was not there.
    Removed,
    /// A purge left it: something uses it, or it was not ours.
    Kept,
    /// Nobody can say.
    Unknown,
}

/// The words of `ImageSeen.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageReason {
    /// The spec names no image.
    InvalidReference,
    /// A pull failed; it is tried again.
    PullFailed,
    /// No attempt can succeed: it is tried again with the next refresh, or when the set names other images.
    PullRefused,
    /// A pull secret cannot be read with the agent's rights, and nothing else opens the registry; it is tried again.
    SecretNotReadable,
    /// The image does not fit above the disk floor; it is tried again.
    NoRoom,
    /// The image was removed from the node, whose disk is near the kubelet's threshold.
    DiskPressure,
    /// The image is there, and its registry does not tell whether there is a newer one.
    RefreshFailed,
    /// The image is there, and the runtime cannot be told to keep it.
    PinUnavailable,
    /// A purge left it: something uses it.
    InUse,
    /// A purge left it: it was there before, or others gave it another name.
    NotOurs,
}

impl ImageReason {
    /// As in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidReference => "InvalidReference",
            Self::PullFailed => "PullFailed",
            Self::PullRefused => "PullRefused",
            Self::SecretNotReadable => "SecretNotReadable",
            Self::NoRoom => "NoRoom",
            Self::DiskPressure => "DiskPressure",
            Self::RefreshFailed => "RefreshFailed",
            Self::PinUnavailable => "PinUnavailable",
            Self::InUse => "InUse",
            Self::NotOurs => "NotOurs",
        }
    }
}

/// Who put an image on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Source {
    /// Larder pulled it: a purge may remove it. Said already while the image is Pending or Pulling, for it was not there when
    /// that began: whoever finds it there after a crash knows whose it is.
    Pulled,
    /// It was there before: never removed.
    Found,
}

/// One image of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSeen {
    /// As in the spec.
    pub image: String,
    /// Where it stands.
    pub phase: ImagePhase,
    /// What the runtime resolved it to: `sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its size on the node, as the runtime gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Of its bytes, how many are there while it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// One word on a failure, or on what was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// At most `MAX_MESSAGE` bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the runtime last confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// Who put it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The purge that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<String>,
}

/// Bytes of a message in a status; what is longer is cut.
pub const MAX_MESSAGE: usize = 256;
/// Images that one set holds: its status stays well below the 1.5 MiB that etcd takes.
pub const MAX_IMAGES: usize = 1_000;
