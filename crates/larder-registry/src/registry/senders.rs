//! Which of a repository's hosts have sent bytes of a blob, so that wrong ones can be laid at somebody's door.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The hosts, by their numbers in the order of asking; shared by all parts of one blob.
#[derive(Clone)]
pub(super) struct Senders {
    /// The first host to ask: those before it are known to send wrong bytes.
    first: usize,
    seen: Arc<Mutex<BTreeSet<usize>>>,
}

impl Senders {
    /// Nobody has sent anything yet, and those before `first` are not to be asked.
    pub(super) fn from(first: usize) -> Self {
        Self { first, seen: Arc::default() }
    }

    pub(super) fn first(&self) -> usize {
        self.first
    }

    pub(super) fn add(&self, host: usize) {
        self.seen().insert(host);
    }

    pub(super) fn all(&self) -> BTreeSet<usize> {
        self.seen().clone()
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
