//! Which blocks one layer holds, so that all of them can be given back when it fails.

use std::collections::BTreeMap;

use super::space::Run;

/// Blocks that were taken and not given back, as runs that do not overlap: first block to the one past the last.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<u64, u64>);

impl Ledger {
    pub(super) fn take(&mut self, run: &Run) {
        if !run.is_empty() {
            self.0.insert(run.start, run.end);
        }
    }

    /// Strikes out `run`, which is a part of one that was taken.
    pub(super) fn give_back(&mut self, run: &Run) {
        let Some((&start, &end)) = self.0.range(..=run.start).next_back() else { return };
        if run.is_empty() || end < run.end {
            return;
        }
        self.0.remove(&start);
        self.take(&(start..run.start));
        self.take(&(run.end..end));
    }

    pub(super) fn into_runs(self) -> impl Iterator<Item = Run> {
        self.0.into_iter().map(|(start, end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_not_held() {
        let mut ledger = Ledger::default();
        ledger.take(&(10..20));
        ledger.take(&(20..30));
        ledger.give_back(&(12..15));
        ledger.give_back(&(20..30));
        ledger.take(&(13..14));
        ledger.give_back(&(19..20));
        ledger.give_back(&(16..16));
        assert_eq!(ledger.into_runs().collect::<Vec<_>>(), [10..12, 13..14, 15..19]);
    }
}
