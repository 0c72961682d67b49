//! Leading links to the disks that they are to be read from.

use std::collections::HashMap;
use std::path::Path;

use crate::blocking::blocking;
use crate::containerd::ContainerdError;
use crate::generation::{self, Moves, ReadyDisk, Relabel};
use crate::labels;
use crate::node::Node;
use crate::overlay::{OverlayError, redirect};
use crate::state::StateDir;

/// Why links are not led to where they should be.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// containerd does not say or take what is needed.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// A link cannot be read or replaced.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

/// Leads every link to the latest of the disks that has its layer, in use or not, and lets the labels follow. Returns how
/// many links were led elsewhere.
pub(crate) async fn settle(node: &Node, state: &StateDir, disks: &[ReadyDisk]) -> Result<usize, SettleError> {
    let snapshots = node.containerd.list_snapshots().await?;
    let overlay = node.overlay.clone();
    let links = blocking(move || overlay.links_below(Path::new("/"))).await?;
    let plan = generation::plan(&snapshots, &links, disks, |disk| state.place(disk));
    let Moves { redirect: links, relabel, unlabel } = plan;
    let moved = links.len();
    blocking(move || links.iter().try_for_each(|link| redirect(&link.path, &link.target))).await?;
    if moved > 0 {
        tracing::info!(moved, "led layers to another disk");
    }
    for Relabel { name, disk, directory } in relabel {
        node.containerd
            .label_snapshot(&name, link_labels(&disk.to_string(), &directory.display().to_string()))
            .await?;
    }
    for name in unlabel {
        node.containerd.label_snapshot(&name, link_labels("", "")).await?;
    }
    Ok(moved)
}

/// The labels of a layer that is a link; with empty values, those that take them away.
pub(crate) fn link_labels(disk: &str, directory: &str) -> HashMap<String, String> {
    HashMap::from([
        (labels::DISK.to_owned(), disk.to_owned()),
        (labels::DIRECTORY.to_owned(), directory.to_owned()),
    ])
}
