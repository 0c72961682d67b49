//! Copying layers that other people's things stand on, so that these outlive the disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::plan::{Selection, shared};
use super::{DetachError, seen};
use crate::attach::link_labels;
use crate::blocking::blocking;
use crate::containerd::Snapshot;
use crate::labels;
use crate::node::Node;
use crate::overlay::{Link, copy_over};
use crate::state::StateDir;

/// Copies over their links the layers that would go and that others stand on. Returns how many.
pub(super) async fn copy(node: &Node, state: &StateDir, selection: &Selection) -> Result<usize, DetachError> {
    let seen = seen::look(&node.containerd).await?;
    let shared = shared(&seen, selection);
    if shared.is_empty() {
        return Ok(0);
    }
    let targets = seen.snapshots.iter().filter(|snapshot| shared.contains(&snapshot.name));
    let targets: BTreeMap<PathBuf, String> =
        targets.filter_map(|snapshot| Some((target(state, snapshot)?, snapshot.name.clone()))).collect();
    let (overlay, below) = (node.overlay.clone(), state.disks());
    let links = blocking(move || overlay.links_below(&below)).await?;
    let mut copied = 0;
    for Link { path, target } in links {
        if targets.contains_key(&target) {
            tracing::info!(layer = targets[&target], "copying a layer that others need");
            blocking(move || copy_over(&path)).await?;
            copied += 1;
        }
    }
    for layer in targets.into_values() {
        node.containerd.label_snapshot(&layer, link_labels("", "")).await?;
    }
    Ok(copied)
}

/// Where a layer's link leads, by its labels.
fn target(state: &StateDir, snapshot: &Snapshot) -> Option<PathBuf> {
    let disk = snapshot.labels.get(labels::DISK)?.parse().ok()?;
    Some(state.place(disk).join(snapshot.labels.get(labels::DIRECTORY)?))
}
