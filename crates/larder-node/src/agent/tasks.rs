//! What the agent asks the runtime beside pulls, each within a limit.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::pin::pin;
use super::purge::{Leaving, Names, judge};
use super::record::Purged;
use super::state::Look;
use crate::causes::with_causes;
use crate::containerd::Containerd;
use crate::cri::{Cri, CriError};
use crate::fetch::measure;

/// A runtime on a busy node answers within seconds.
const CALL: Duration = Duration::from_secs(20);
/// Removing an image removes its layers' directories.
const REMOVE: Duration = Duration::from_mins(2);

/// What came of a task.
#[derive(Debug)]
pub(super) enum Done {
    /// The runtime was looked at, or does not answer.
    Looked(Result<Look, String>),
    /// Images that were to leave.
    Purged {
        purged: Vec<(Leaving, Purged)>,
        /// Whether there are some that could not be dealt with.
        failed: bool,
    },
    /// An image was pinned or unpinned, or cannot be.
    Pinned { image: String, pinned: bool, failure: Option<String> },
}

pub(super) async fn look(cri: &Cri, place: Option<&Path>) -> Done {
    let begun = Instant::now();
    let space = place.and_then(|place| measure(place).ok());
    let images = within(CALL, cri.list_images()).await;
    Done::Looked(images.map(|images| Look { begun, images, space }))
}

/// One after the other, for removing one name of an image may remove others.
pub(super) async fn purge(cri: &Cri, images: Vec<Leaving>, names: Names) -> Done {
    let (mut purged, mut failed) = (Vec::new(), false);
    for leaving in images {
        match purge_one(cri, &leaving, &names).await {
            Ok(outcome) => purged.push((leaving, outcome)),
            Err(error) => {
                failed = true;
                tracing::warn!(image = leaving.image, error, "an image cannot be removed");
            }
        }
    }
    Done::Purged { purged, failed }
}

async fn purge_one(cri: &Cri, leaving: &Leaving, names: &Names) -> Result<Purged, String> {
    let used: BTreeSet<String> = cri.used_images().await.map_err(|error| with_causes(&error))?;
    let images = within(CALL, cri.list_images()).await?;
    if let Some(outcome) = judge(leaving, names, &images, &used) {
        return Ok(outcome);
    }
    within(REMOVE, cri.remove_image(&leaving.exact)).await?;
    tracing::info!(image = leaving.image, "removed");
    Ok(Purged::Removed)
}

pub(super) async fn keep(containerd: Option<&Containerd>, image: String, name: String, pinned: bool) -> Done {
    let failure = pin(containerd, &name, pinned).await.err();
    if let Some(error) = &failure {
        tracing::warn!(image, error, "an image cannot be pinned");
    }
    Done::Pinned { image, pinned, failure }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, CriError>>) -> Result<T, String> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the runtime did not answer within {limit:?}")),
    }
}
