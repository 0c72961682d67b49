//! What runs on a node: attaching a cache disk to containerd, and detaching it.
//!
//! Speaks to containerd and CRI over their socket, and mounts; it knows no registry and no Kubernetes API.

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
mod node;
mod overlay;
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
pub use overlay::OverlayError;
pub use stage::{DiskSelector, DiskSource, SelectError, StageError};
pub use state::StateError;
