//! What has to go so that broken layers can, decided from what was seen.

use std::collections::BTreeSet;

use crate::detach::Use;
use crate::detach::plan::{id_records, users_of};
use crate::detach::seen::{Seen, SeenImage};

/// What is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Withdrawal {
    /// Image records, in this order: CRI's own, then digests, then names, by which a later run finds what is left.
    pub(super) records: Vec<String>,
    /// Containers, if they have ended.
    pub(super) containers: BTreeSet<String>,
}

/// Decides. Without `force` only what Larder put there goes, with CRI's own records of that.
pub(super) fn plan(seen: &Seen, broken: &BTreeSet<String>, force: bool) -> Withdrawal {
    let is_broken = |image: &SeenImage| image.layers().any(|layer| broken.contains(&layer));
    let goes = |image: &&SeenImage| is_broken(image) && !image.is_id() && (force || image.disk().is_some());
    let going: Vec<_> = seen.images.iter().filter(goes).collect();
    let names: BTreeSet<_> = going.iter().map(|image| image.record.name.clone()).collect();
    let mut ids: BTreeSet<_> = going.iter().flat_map(|image| id_records(seen, image, &names)).collect();
    if force {
        let left = seen.images.iter().filter(|image| image.is_id() && is_broken(image));
        ids.extend(left.map(|image| image.record.name.clone()));
    }
    let (digests, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.contains('@'));
    let users = if force { users_of(seen, broken) } else { BTreeSet::new() };
    let container = |r#use| match r#use {
        Use::Container { id, .. } => Some(id),
        Use::Image(_) | Use::Snapshot(_) => None,
    };
    Withdrawal {
        records: ids.into_iter().chain(digests).chain(names).collect(),
        containers: users.into_iter().filter_map(container).collect(),
    }
}
