//! Who stands on which layers.

use std::collections::{BTreeMap, BTreeSet};

use crate::containerd::{Snapshot, SnapshotKind};
use crate::detach::report::Use;
use crate::detach::seen::{Seen, SeenImage};
use crate::labels;

/// Somebody who would be hurt if a layer went.
#[derive(Debug)]
pub(super) struct User {
    pub(super) r#use: Use,
    /// The layers that it stands on.
    pub(super) layers: BTreeSet<String>,
    /// The layer right below a writable snapshot: the whole of the image that it was made from.
    pub(super) runs_on: Option<String>,
}

/// Containers, views, other people's images, and layers that belong to no image at all.
pub(super) fn users(seen: &Seen) -> Vec<User> {
    let parents: BTreeMap<&str, &str> = seen
        .snapshots
        .iter()
        .filter_map(|snapshot| Some((snapshot.name.as_str(), snapshot.parent.as_deref()?)))
        .collect();
    let of_images: BTreeSet<String> = seen.images.iter().flat_map(SeenImage::layers).collect();
    let snapshots = seen.snapshots.iter().filter_map(|snapshot| {
        let r#use = snapshot_use(seen, snapshot, &of_images)?;
        let writable = snapshot.kind == SnapshotKind::InUse;
        let runs_on = snapshot.parent.clone().filter(|_| writable);
        Some(User { r#use, layers: with_ancestors(&snapshot.name, &parents), runs_on })
    });
    let images = seen.images.iter().filter(|image| is_foreign(seen, image)).map(|image| User {
        r#use: Use::Image(image.record.name.clone()),
        layers: image.layers().collect(),
        runs_on: None,
    });
    snapshots.chain(images).collect()
}

/// None for a layer that an image or a link of ours accounts for.
fn snapshot_use(seen: &Seen, snapshot: &Snapshot, of_images: &BTreeSet<String>) -> Option<Use> {
    let accounted = of_images.contains(&snapshot.name) || snapshot.labels.contains_key(labels::DISK);
    if snapshot.kind == SnapshotKind::Committed && accounted {
        return None;
    }
    let container = seen.containers.iter().find(|container| container.snapshot == snapshot.name);
    Some(match container {
        Some(container) => Use::Container { id: container.id.clone(), pod: container.pod.clone() },
        None => Use::Snapshot(snapshot.name.clone()),
    })
}

/// CRI's id record counts only where it is all that is left of an image.
fn is_foreign(seen: &Seen, image: &SeenImage) -> bool {
    let named =
        |other: &SeenImage| !other.is_id() && image.chains.iter().any(|chain| other.has_config(chain.config));
    image.disk().is_none() && !(image.is_id() && seen.images.iter().any(named))
}

fn with_ancestors(name: &str, parents: &BTreeMap<&str, &str>) -> BTreeSet<String> {
    let chain = std::iter::successors(Some(name), |name| parents.get(name).copied());
    chain.map(str::to_owned).collect()
}
