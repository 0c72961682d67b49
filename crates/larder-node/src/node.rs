//! A node whose runtime Larder knows: connected, and checked before anything is changed.

mod identity;
mod limits;
mod preflight;
mod selinux;

use std::path::{Path, PathBuf};

use crate::containerd::{Containerd, ContainerdError, KUBERNETES_NAMESPACE, NodeOptions, find_socket, peer};
use crate::cri::Cri;
use crate::overlay::{OverlayError, OverlayRoot};
pub use preflight::PreflightError;
pub use selinux::SelinuxError;

/// The runtime of a node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) containerd: Containerd,
    /// Where the namespace is the one that CRI serves.
    pub(crate) cri: Option<Cri>,
    pub(crate) overlay: OverlayRoot,
    /// containerd's, as it gives it.
    pub(crate) version: String,
    /// What a disk's mount needs so that containers may read it.
    pub(crate) disk_options: Option<String>,
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
    /// What label a disk would need is not known.
    #[error(transparent)]
    Selinux(#[from] SelinuxError),
}

impl Node {
    /// Connects, and refuses a runtime that Larder does not know. Changes nothing.
    pub(crate) async fn open(options: &NodeOptions) -> Result<Self, NodeError> {
        let NodeOptions { socket, root, namespace, state_dir: _ } = options;
        let socket = find_socket(socket.as_deref()).await?;
        if let Some(peer) = peer(&socket).await {
            preflight::check_rootful(&socket, peer, identity::user_map(peer).as_deref())?;
        }
        let containerd = Containerd::connect(&socket, namespace).await?;
        let plugins = match containerd.list_plugins().await {
            Err(error) if error.is_unimplemented() => {
                preflight::check_name(&socket, identity::runtime_name(&containerd).await.as_deref())?;
                return Err(error.into());
            }
            plugins => plugins?,
        };
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
        let version = containerd.version().await?;
        let overlay = OverlayRoot::open(snapshots)?;
        let disk_options = selinux::mount_option(&snapshots.join("snapshots"))?;
        Ok(Self { containerd, cri, overlay, version, disk_options })
    }
}

/// Without symbolic links, so that two ways of writing a directory compare equal; a missing one is compared as it is written.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
