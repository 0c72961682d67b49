//! A node whose runtime Larder knows: connected, and checked before anything is changed.

mod preflight;

use std::path::{Path, PathBuf};

use crate::containerd::{Containerd, ContainerdError, KUBERNETES_NAMESPACE, NodeOptions, find_socket};
use crate::cri::Cri;
use crate::overlay::{OverlayError, OverlayRoot};
pub use preflight::PreflightError;

/// The runtime of a node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) containerd: Containerd,
    /// Where the namespace is the one that CRI serves.
    pub(crate) cri: Option<Cri>,
    pub(crate) overlay: OverlayRoot,
}

/// Why this node's runtime cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// containerd does not answer.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// It is set up in a way that Larder does not serve.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// Its directories are not as they should be.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

impl Node {
    /// Connects, and refuses a runtime that Larder does not know. Changes nothing.
    pub(crate) async fn open(options: &NodeOptions) -> Result<Self, NodeError> {
        let NodeOptions { socket, root, namespace, state_dir: _ } = options;
        let socket = find_socket(socket.as_deref(), Path::exists)?;
        let containerd = Containerd::connect(&socket, namespace).await?;
        let plugins = containerd.list_plugins().await?;
        let snapshots = preflight::snapshot_directory(&plugins)?;
        if let Some(root) = root {
            preflight::check_root(&resolved(root), &resolved(snapshots))?;
        }
        let cri = if namespace == KUBERNETES_NAMESPACE {
            preflight::check_cri(&plugins)?;
            let cri = Cri::new(containerd.channel());
            preflight::check_cri_snapshotter(&cri.image_directories().await?, snapshots)?;
            Some(cri)
        } else {
            None
        };
        Ok(Self { containerd, cri, overlay: OverlayRoot::open(snapshots)? })
    }
}

/// Without symbolic links, so that two ways of writing a directory compare equal; a missing one is compared as it is written.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
