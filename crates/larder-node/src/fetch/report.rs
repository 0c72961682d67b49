//! What became of each image, and what is told meanwhile.

use std::time::Duration;

use super::space::NoRoom;
use crate::attempt::Attempt;

/// What became of an image that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// It was there before, by exact reference or digest.
    Already {
        /// As the runtime counts, in bytes.
        size: u64,
    },
    /// It was pulled.
    Pulled {
        /// As the runtime counts, in bytes.
        size: u64,
        /// The attempts that it took, counted by rounds through its credentials.
        attempts: u32,
        /// How long the last one took.
        took: Duration,
    },
}

/// Why an image is not there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The list has a line that is no image reference.
    #[error("a line of the image list is no image reference")]
    BadLine(#[source] larder_core::ReferenceError),
    /// No attempt can succeed.
    #[error("{0}")]
    Permanent(String),
    /// It does not fit.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The overall time was up.
    #[error("not pulled in the time for all, {attempts} attempts: {last}")]
    OutOfTime {
        /// The attempts so far.
        attempts: u32,
        /// What the last one said.
        last: String,
    },
}

/// What became of each image, in the order of the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// By the name that was asked for.
    pub images: Vec<(String, Result<Present, Missing>)>,
}

impl FetchReport {
    /// Whether an image is missing.
    pub fn has_failures(&self) -> bool {
        self.images.iter().any(|(_, result)| result.is_err())
    }
}

/// What happens, for whoever shows it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The runtime was found.
    Runtime {
        /// What it calls itself.
        name: &'a str,
        /// Its version.
        version: &'a str,
    },
    /// What is there was looked at.
    Checked {
        /// Images that are there.
        present: usize,
        /// Images that are to be pulled.
        to_pull: usize,
    },
    /// This node begins so much later than others.
    Waiting(Duration),
    /// The disk floor cannot be kept, since the image file system is not seen from here.
    NoFloor(&'a str),
    /// An attempt begins.
    Pulling {
        /// Which image.
        image: &'a str,
        /// Counted from 1.
        attempt: u32,
    },
    /// Bytes of the image have come.
    Progress {
        /// Which image.
        image: &'a str,
        /// Bytes of layers so far.
        done: u64,
        /// Of so many, as far as they are known.
        total: u64,
    },
    /// An attempt failed, and another one follows.
    Retrying {
        /// Which image.
        image: &'a str,
        /// Why.
        reason: &'a str,
        /// After so long.
        delay: Duration,
    },
    /// An attempt with one credential has ended, well or not.
    Attempted(&'a Attempt),
    /// Nothing more is done about an image.
    Finished {
        /// Which image.
        image: &'a str,
        /// What became of it.
        result: &'a Result<Present, Missing>,
    },
}

/// Shows or collects what happens; called often, and must not block.
pub trait Reporter {
    /// Takes note.
    fn event(&self, event: Event<'_>);
}
