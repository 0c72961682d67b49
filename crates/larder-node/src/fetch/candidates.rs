//! Which credentials of an image are still worth trying. Decides, and calls nothing.

use super::verdict::Verdict;

/// What is known of each credential of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    open: Vec<bool>,
    hopeless: bool,
}

impl Candidates {
    /// `count` credentials that nothing is known of.
    pub(super) fn new(count: usize) -> Self {
        Self { open: vec![true; count], hopeless: false }
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
        self.hopeless || !self.open.contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_credential_is_not_tried_again_and_the_last_one_ends_it() {
        let mut candidates = Candidates::new(3);
        candidates.failed(0, Verdict::Denied);
        candidates.failed(1, Verdict::Transient);
        assert_eq!((candidates.round(), candidates.is_hopeless()), (vec![1, 2], false));
        candidates.failed(1, Verdict::Denied);
        candidates.failed(2, Verdict::Denied);
        assert!(candidates.round().is_empty() && candidates.is_hopeless());
    }

    #[test]
    fn what_no_credential_can_help_with_ends_it_at_once() {
        let mut candidates = Candidates::new(2);
        candidates.failed(0, Verdict::Permanent);
        assert!(candidates.is_hopeless());
    }
}
