//! Which blocks are still free while content streams in.
//!
//! Blocks are handed out from the front, around the places of the superblock's copies. What is handed back (the rest of
//! a zone, the blocks of a replaced file) is handed out again first.

use std::ops::Range;

use super::geometry::{GROUP, descriptor_blocks, groups, has_superblock};

/// A run of blocks.
pub(super) type Run = Range<u64>;

/// The free blocks of a file system of at most `limit` blocks.
#[derive(Clone, Debug)]
pub(super) struct Space {
    next: u64,
    limit: u64,
    /// Blocks kept for the descriptors after each copy of the superblock.
    descriptors: u64,
    returned: Vec<Run>,
}

impl Space {
    pub(super) fn new(limit: u64) -> Self {
        let descriptors = descriptor_blocks(groups(limit));
        Self { next: 0, limit, descriptors, returned: Vec::new() }
    }

    /// The limit in blocks.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// One past the last block that was ever handed out.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// Up to `wanted` blocks in one run; none when the space is full.
    pub(super) fn take(&mut self, wanted: u64) -> Option<Run> {
        if let Some(run) = self.take_returned(wanted, wanted) {
            return Some(run);
        }
        let free = self.front();
        let run = free.start..free.end.min(free.start + wanted);
        if run.is_empty() {
            let largest = self.returned.iter().map(|run| run.end - run.start).max()?;
            return self.take_returned(wanted, largest);
        }
        self.next = run.end;
        Some(run)
    }

    /// Exactly `wanted` blocks in one run (less than a group); none when there is no such run.
    pub(super) fn take_exactly(&mut self, wanted: u64) -> Option<Run> {
        if let Some(run) = self.take_returned(wanted, wanted) {
            return Some(run);
        }
        loop {
            let free = self.front();
            if free.end - free.start >= wanted {
                self.next = free.start + wanted;
                return Some(free.start..free.start + wanted);
            }
            if free.end >= self.limit {
                return None;
            }
            self.next = free.end;
            self.give_back(free);
        }
    }

    pub(super) fn give_back(&mut self, run: Run) {
        if !run.is_empty() {
            self.returned.push(run);
        }
    }

    /// Cuts up to `wanted` blocks from a returned run of at least `least`.
    fn take_returned(&mut self, wanted: u64, least: u64) -> Option<Run> {
        let found = self.returned.iter().position(|run| run.end - run.start >= least)?;
        let run = &mut self.returned[found];
        let cut = run.start..run.end.min(run.start + wanted);
        run.start = cut.end;
        if run.is_empty() {
            self.returned.swap_remove(found);
        }
        Some(cut)
    }

    /// The run that begins at the first block never handed out, up to the next copy of the superblock.
    fn front(&self) -> Run {
        let copy =
            |group: u64| has_superblock(group).then_some(group * GROUP..group * GROUP + 1 + self.descriptors);
        let group = self.next / GROUP;
        let start = match copy(group) {
            Some(copy) if copy.contains(&self.next) => copy.end,
            _ => self.next,
        };
        let end =
            (group + 1..=groups(self.limit)).find(|group| has_superblock(*group)).map(|group| group * GROUP);
        start.min(self.limit)..end.unwrap_or(self.limit).min(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_never_cover_a_copy_of_the_superblock() {
        let mut space = Space::new(12 * GROUP);
        let mut taken = vec![false; usize::try_from(space.limit()).unwrap()];
        while let Some(run) = space.take(3000) {
            for block in run {
                assert!(
                    !std::mem::replace(&mut taken[usize::try_from(block).unwrap()], true),
                    "block {block} twice"
                );
            }
        }
        let free: Vec<u64> =
            (0..space.limit()).filter(|block| !taken[usize::try_from(*block).unwrap()]).collect();
        let copies: Vec<u64> =
            [0, 1, 3, 5, 7, 9].into_iter().flat_map(|group| [group * GROUP, group * GROUP + 1]).collect();
        assert_eq!(free, copies);
    }

    #[test]
    fn what_comes_back_is_used_again() {
        let mut space = Space::new(GROUP);
        let run = space.take(100).unwrap();
        space.give_back(run.start + 40..run.end);
        assert_eq!(space.take(60), Some(run.start + 40..run.end));
        assert_eq!(space.take_exactly(GROUP), None);
        assert!(space.take_exactly(1000).is_some());
        while space.take(1000).is_some() {}
        space.give_back(7..9);
        assert_eq!(space.take(1000), Some(7..9));
    }
}
