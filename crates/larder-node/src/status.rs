//! Status: of each image on this node, whether the node would start a pod from it at once, and if not, why.
//!
//! Only looks. An attach or detach that runs meanwhile is seen half-way.

mod judge;
mod look;
mod report;
mod subject;

use std::time::Duration;

use crate::containerd::{ContainerdError, NodeOptions};
use crate::cri::CriError;
use crate::hydrate::HydrateError;
use crate::node::{Node, NodeError};
use crate::overlay::OverlayError;
use crate::stage::StageError;
use crate::state::{StateDir, StateError};
pub use report::{Cold, DiskFault, DiskStatus, ImageStatus, NodeStatus, Origin};

/// Why the node's status cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The runtime is not one that Larder serves, or does not answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// containerd failed.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// The snapshotter's directories cannot be read.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// How far the reading of a disk is cannot be told.
    #[error(transparent)]
    Hydrate(#[from] HydrateError),
    /// CRI does not list its images.
    #[error("CRI does not list its images: {0}")]
    Cri(#[from] CriError),
    /// CRI does not answer.
    #[error("CRI did not list its images within {0:?}")]
    CriSilent(Duration),
    /// The mounts cannot be read.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// Asks the runtime and looks at the disks. In a namespace that CRI does not serve, containerd's word is the last.
pub async fn status(options: &NodeOptions) -> Result<NodeStatus, StatusError> {
    let node = Node::open(options).await?;
    let state = StateDir::open(&options.state_dir)?;
    let seen = look::look(&node, &state).await?;
    let images = judge::judge(&seen);
    let disks = seen.disks.into_iter().map(look::SeenDisk::into_status).collect();
    Ok(NodeStatus { containerd: node.version.clone(), limits: node.limits(), disks, images })
}
