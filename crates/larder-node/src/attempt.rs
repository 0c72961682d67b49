//! One attempt at pulling an image, as it is told to metrics.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// One attempt at pulling an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Unique among all attempts of all nodes.
    pub id: Uuid,
    /// When it began.
    pub started_at: SystemTime,
    /// The image, as the list has it.
    pub image: String,
    /// Why it failed; none where it did not.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// The image's size as the runtime tells it, in bytes; 0 where it failed.
    pub size_bytes: u64,
}
