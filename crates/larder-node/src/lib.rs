//! What runs on a node: attaching a cache disk to containerd, and detaching it.
//!
//! Speaks to containerd and CRI over their socket, and mounts; of the Kubernetes API it knows one label, pull secrets, and the set
//! of images that the node is to hold.
//! It knows no registry.

mod agent;
mod attach;
mod attempt;
mod blocking;
mod causes;
mod containerd;
pub mod cri;
mod detach;
mod disks;
pub mod fetch;
#[cfg(test)]
mod fixture;
mod generation;
mod heal;
mod hydrate;
mod kubernetes;
mod labels;
pub mod metrics;
mod node;
mod node_label;
mod overlay;
mod persist;
mod pull_secret;
mod stage;
mod state;
mod status;

pub use agent::{AgentError, AgentOptions, SecretCredentials, agent};
pub use attach::{
    AttachError, AttachImageError, AttachOptions, AttachOutcome, AttachReport, AttachedImage, NotOnDisk,
    RemountedDisk, RestoreReport, RestoredDisk, SettleError, attach, preview_attach, remount, restore,
};
pub use attempt::Attempt;
pub use containerd::{ContainerdError, KUBERNETES_NAMESPACE, NodeOptions};
pub use detach::{
    DetachError, DetachImageError, DetachOptions, DetachOutcome, DetachReport, DetachedImage, DiskOutcome,
    DiskReport, Use, detach, preview_detach,
};
pub use heal::{HealError, LostDisk};
pub use hydrate::{
    HydrateError, HydrateOptions, HydrateOutcome, HydrateProgress, Hydration, HydrationState, hydrate,
};
pub use kubernetes::SetupError;
pub use node::{NodeError, PreflightError, SelinuxError};
pub use node_label::{LabelError, NodeLabeller, Prefetch};
pub use overlay::OverlayError;
pub use pull_secret::{SecretError, SecretReader, StoredSecret};
pub use stage::{DiskSelector, DiskSource, DiskTree, SelectError, StageError, enter_mount_namespace};
pub use state::StateError;
pub use status::{Cold, DiskFault, DiskStatus, ImageStatus, NodeStatus, Origin, StatusError, status};
