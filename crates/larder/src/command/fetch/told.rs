//! Passes on what happens to whoever shows it, and keeps what metrics are told in the end.

use std::cell::RefCell;
use std::collections::VecDeque;

use larder_node::Attempt;
use larder_node::fetch::{Event, Reporter};

use super::show::Show;

/// Attempts that are kept, at less than a kilobyte each; past it the oldest make room, for the latest tell the outcome.
const KEPT: usize = 20_000;

/// What happened in a fetch.
pub(super) struct Told {
    show: Show,
    /// None where nobody wants them.
    attempts: Option<RefCell<VecDeque<Attempt>>>,
}

impl Told {
    pub(super) fn new(show: Show, keep: bool) -> Self {
        Self { show, attempts: keep.then(RefCell::default) }
    }

    /// The attempts, the oldest first.
    pub(super) fn into_attempts(self) -> Vec<Attempt> {
        self.attempts.map(RefCell::into_inner).unwrap_or_default().into()
    }
}

impl Reporter for Told {
    fn event(&self, event: Event<'_>) {
        if let (Event::Attempted(attempt), Some(attempts)) = (&event, &self.attempts) {
            let mut attempts = attempts.borrow_mut();
            if attempts.len() == KEPT {
                attempts.pop_front();
            }
            attempts.push_back((*attempt).clone());
        }
        self.show.event(event);
    }
}
