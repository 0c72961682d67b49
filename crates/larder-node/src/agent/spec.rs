//! What this node should hold, read once from its `NodeImageSet`: what is for the kubelet's Jobs is left to them.

use std::collections::BTreeMap;
use std::time::Duration;

use larder_api::{ImageWanted, NodeImageSet, PullBy, PullPolicy};
use larder_core::{ImageRef, ReferenceError};

use crate::fetch::{Wanted, exact_name, is_moving};

/// A set's spec, parsed.
#[derive(Debug, Default)]
pub(super) struct Spec {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    /// By the reference, written out; each is one that the agent pulls.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Whether some images are for others to pull.
    pub(super) has_others: bool,
    /// What may have changed is asked for again after so long.
    pub(super) refresh: Option<Duration>,
}

/// One image, as it is wanted, and what its name means.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) wanted: ImageWanted,
    pub(super) name: Result<Name, ReferenceError>,
}

/// A reference that can be pulled.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) wanted: Wanted,
    /// As the runtime lists it.
    pub(super) exact: String,
}

impl Spec {
    pub(super) fn of(set: &NodeImageSet) -> Self {
        let ours = set.spec.images.iter().filter(|wanted| wanted.pull_by == PullBy::Agent);
        let entries = ours.map(Entry::of).map(|entry| (entry.key(), entry)).collect();
        let refresh = set.spec.refresh_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            uid: set.metadata.uid.clone().unwrap_or_default(),
            generation: set.metadata.generation,
            has_others: set.spec.images.iter().any(|wanted| wanted.pull_by != PullBy::Agent),
            entries,
            refresh: refresh.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        }
    }
}

impl Entry {
    fn of(wanted: &ImageWanted) -> Self {
        let named = |reference: ImageRef| {
            let wanted = Wanted { name: reference.to_string(), reference };
            Name { exact: exact_name(&wanted), wanted }
        };
        Self { wanted: wanted.clone(), name: wanted.image.parse().map(named) }
    }

    fn key(&self) -> String {
        self.name.as_ref().map_or_else(|_| self.wanted.image.clone(), |name| name.wanted.name.clone())
    }

    /// Whether its registry may have a newer one, so that it is asked again.
    pub(super) fn may_change(&self) -> bool {
        let always = self.wanted.pull_policy == PullPolicy::Always;
        self.name.as_ref().is_ok_and(|name| always || is_moving(&name.wanted))
    }

    /// What one attempt at a pull may take.
    pub(super) fn limit(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.wanted.deadline_seconds?).ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}
