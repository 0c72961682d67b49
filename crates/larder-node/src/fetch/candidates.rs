//! Which credentials of an image are still worth trying. Decides, and calls nothing.

use super::verdict::Verdict;

/// What is known of each credential of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    open: Vec<bool>,
    may_grow: bool,
    hopeless: bool,
}

impl Candidates {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), may_grow: true, hopeless: false }
    }

    /// Whether it is worth asking for credentials.
    pub(super) fn may_grow(&self) -> bool {
        self.may_grow
    }

    /// There are `count` of them now: nothing is known of those that are new.
    pub(super) fn grow(&mut self, count: usize, may_grow: bool) {
        self.open.resize(count, true);
        self.may_grow = may_grow;
    }

    /// Those that a round tries, in their order.
    pub(super) fn round(&self) -> Vec<usize> {
        (0..self.open.len()).filter(|&place| self.open[place]).collect()
    }

    /// Notes how the credential at `place` failed.
    pub(super) fn failed(&mut self, place: usize, verdict: Verdict) {
        match verdict {
            Verdict::Transient => {}
            Verdict::Denied => self.open[place] = false,
            Verdict::Permanent => self.hopeless = true,
        }
    }

    /// Whether no attempt can succeed any more.
    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless || (!self.may_grow && !self.open.contains(&true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(count: usize) -> Candidates {
        let mut candidates = Candidates::new();
        candidates.grow(count, false);
        candidates
    }

    #[test]
    fn a_denied_credential_is_not_tried_again_and_the_last_one_ends_it() {
        let mut candidates = candidates(3);
        candidates.failed(0, Verdict::Denied);
        candidates.failed(1, Verdict::Transient);
        assert_eq!((candidates.round(), candidates.is_hopeless()), (vec![1, 2], false));
        candidates.failed(1, Verdict::Denied);
        candidates.failed(2, Verdict::Denied);
        assert!(candidates.round().is_empty() && candidates.is_hopeless());
    }

    #[test]
    fn what_no_credential_can_help_with_ends_it_at_once() {
        let mut candidates = candidates(2);
        candidates.failed(0, Verdict::Permanent);
        assert!(candidates.is_hopeless());
    }

    #[test]
    fn while_more_may_come_a_denial_ends_nothing() {
        let mut candidates = Candidates::new();
        candidates.grow(1, true);
        candidates.failed(0, Verdict::Denied);
        assert_eq!((candidates.round(), candidates.is_hopeless()), (vec![], false));
        let mut grown = candidates.clone();
        grown.grow(2, false);
        assert_eq!((grown.round(), grown.is_hopeless()), (vec![1], false));
        candidates.grow(1, false);
        assert!(candidates.is_hopeless());
        grown.failed(1, Verdict::Permanent);
        assert!(grown.is_hopeless());
    }
}
