//! What runs on a node: attaching a cache disk to containerd, and detaching it.
//!
//! Speaks to containerd and CRI over their socket, and mounts; it knows no registry and no Kubernetes API.

mod attach;
mod blocking;
mod causes;
mod containerd;
mod cri;
mod detach;
mod disks;
#[cfg(test)]
mod fixture;
mod generation;
mod heal;
mod hydrate;
mod labels;
mod node;
mod overlay;
mod stage;
mod state;
mod status;

pub use attach::{
    AttachError, AttachImageError, AttachOptions, AttachOutcome, AttachReport, AttachedImage, NotOnDisk,
    RemountedDisk, RestoreReport, RestoredDisk, SettleError, attach, preview_attach, remount, restore,
};
pub use containerd::{ContainerdError, KUBERNETES_NAMESPACE, NodeOptions};
pub use detach::{
    DetachError, DetachImageError, DetachOptions, DetachOutcome, DetachReport, DetachedImage, DiskOutcome,
    DiskReport, Use, detach, preview_detach,
};
pub use heal::{HealError, LostDisk};
pub use hydrate::{
    HydrateError, HydrateOptions, HydrateOutcome, HydrateProgress, Hydration, HydrationState, hydrate,
};
pub use node::{NodeError, PreflightError, SelinuxError};
pub use overlay::OverlayError;
pub use stage::{DiskSelector, DiskSource, DiskTree, SelectError, StageError, enter_mount_namespace};
pub use state::StateError;
pub use status::{Cold, DiskFault, DiskStatus, ImageStatus, NodeStatus, Origin, StatusError, status};
