//! The layers: each is read back as a tree, of which the same listing must come that was written with it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_core::Digest;

use super::Owners;
use super::contents::{Contents, MAX_BLOB};
use super::problem::Problems;
use crate::layer::{differences, listing, reference_checksum};
use crate::layout::{SnapshotLine, blob_path};
use crate::medium::{LayerRead, Medium, MediumError, Sums};

/// Paths of one layer that are named; what is wrong with the rest is mostly the same.
const MAX_NAMED: usize = 10;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) listed: usize,
    pub(super) summed: usize,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Verifies every layer, `jobs` at a time.
pub(super) fn verify(
    medium: &Medium,
    contents: &Contents,
    owners: &Owners,
    problems: &Problems,
    jobs: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Read {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let total = Mutex::new(Read::default());
    let one = Layers { medium, contents, owners, problems };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, contents.lines.len().max(1)) {
            scope.spawn(|| {
                while let Some(line) = contents.lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let read = one.layer(line);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.listed += read.listed;
                    total.summed += read.summed;
                    total.files += read.files;
                    total.bytes += read.bytes;
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, contents.lines.len());
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Layers<'a> {
    medium: &'a Medium,
    contents: &'a Contents,
    owners: &'a Owners,
    problems: &'a Problems,
}

impl Layers<'_> {
    fn layer(&self, line: &SnapshotLine) -> Read {
        let listing = self.contents.listings.get(&line.chain_id).map(|entry| entry.listing);
        let sums = Sums { blake3: listing.is_some(), md5: line.md5.is_some() };
        let place = self.owners.layer(line.chain_id, None);
        let found = self.medium.find(&line.directory).and_then(|found| found.ok_or(MediumError::Absent));
        let read = match found.and_then(|found| self.medium.layer(&found, sums)) {
            Ok(read) => read,
            Err(error) => {
                self.problems.at(place, format_args!("{}: {error}", line.directory));
                return Read::default();
            }
        };
        for failure in &read.failures {
            let path = failure.path.escape_ascii().to_string();
            self.problems.error(self.owners.layer(line.chain_id, Some(path)), &failure.error);
        }
        let mut sum = Read { files: read.files, bytes: read.bytes, ..Read::default() };
        // What is missing has been named; comparing would only name it again.
        if read.failures.is_empty() {
            sum.listed = usize::from(listing.is_some_and(|listing| self.listing(line, listing, &read)));
            sum.summed = usize::from(self.md5(line, &read));
        }
        sum
    }

    /// Compares the layer with its listing; true if it was compared.
    fn listing(&self, line: &SnapshotLine, expected: Digest, read: &LayerRead) -> bool {
        let found = listing(&read.tree);
        if Digest::of(&found) == expected {
            return true;
        }
        let place = |path| self.owners.layer(line.chain_id, path);
        let listed = match self.medium.read(&blob_path(expected), MAX_BLOB) {
            Ok(listed) if Digest::of(&listed) == expected => listed,
            Ok(_) => {
                self.problems.at(place(None), "its listing is damaged, so that it cannot be compared");
                return false;
            }
            Err(error) => {
                self.problems.at(place(None), format_args!("its listing cannot be read: {error}"));
                return false;
            }
        };
        match differences(&listed, &found, MAX_NAMED) {
            None => self.problems.at(place(None), "its listing is in a form that this version does not know"),
            Some((named, count)) => {
                let more = count - named.len();
                for difference in named {
                    self.problems.at(place(Some(difference.path)), difference.what);
                }
                if more > 0 {
                    self.problems.at(place(None), format_args!("{more} more paths are not as listed"));
                }
                if count == 0 {
                    self.problems.at(place(None), "it is not in the order of its listing");
                }
            }
        }
        true
    }

    /// Compares the layer with the md5 column; true if there was one.
    fn md5(&self, line: &SnapshotLine, read: &LayerRead) -> bool {
        let Some(expected) = &line.md5 else { return false };
        if reference_checksum(&read.tree) != *expected {
            let what = "the contents of its files are not those of the md5 in snapshots.metadata";
            self.problems.at(self.owners.layer(line.chain_id, None), what);
        }
        true
    }
}
