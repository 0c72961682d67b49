//! What runs on a node: attaching a cache disk to containerd, and detaching it.
//!
//! Speaks to containerd and CRI over their socket, and mounts; of the Kubernetes API it knows one label.
//! It knows no registry.

mod attach;
mod attempt;
mod blocking;
mod containerd;
pub mod cri;
mod detach;
pub mod fetch;
#[cfg(test)]
mod fixture;
mod labels;
pub mod metrics;
mod node;
mod node_label;
mod overlay;
mod persist;
mod stage;
mod state;

pub use attach::{
    AttachError, AttachImageError, AttachOutcome, AttachReport, AttachedImage, NotOnDisk, attach,
};
pub use attempt::Attempt;
pub use containerd::{ContainerdError, KUBERNETES_NAMESPACE, NodeOptions};
pub use detach::{
    DetachError, DetachImageError, DetachOutcome, DetachReport, DetachedImage, DiskOutcome, DiskReport, Use,
    detach,
};
pub use node::{NodeError, PreflightError};
pub use node_label::{LabelError, NodeLabeller, Prefetch};
pub use overlay::OverlayError;
pub use stage::{DiskSelector, DiskSource, SelectError, StageError};
pub use state::StateError;
