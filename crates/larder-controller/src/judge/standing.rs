//! Where one image stands on one node.

use std::collections::BTreeMap;
use std::time::Duration;

use larder_api::{ImagePhase, ImageSeen, ImageWanted};

use crate::Clock;
use crate::index::Set;
use crate::plan::Selected;

/// Three times what agents may let pass between two confirmations: what is older is no longer known.
const OVERDUE: Duration = Duration::from_mins(15);
/// What an agent may be late with its word about a pull whose deadline is over.
const PATIENCE: Duration = Duration::from_mins(2);
/// Of a pull whose entry has no deadline.
const DEADLINE: Duration = Duration::from_mins(5);

/// Where an image stands on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The runtime confirmed it.
    Warm,
    /// The node is asked, or is to be, and has not done it yet.
    Working,
    /// It could not be pulled.
    Failed(Reason),
    /// Nobody can say.
    Unknown(Reason),
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Standing {
    pub(crate) fn is_working(&self) -> bool {
        *self == Self::Working
    }

    fn unknown(reason: &str, message: &str) -> Self {
        Self::Unknown(Reason { reason: reason.to_owned(), message: message.to_owned() })
    }
}

/// What `seen` says of an entry of `set` that is not being purged.
pub(crate) fn standing(
    entry: &ImageWanted,
    seen: Option<&ImageSeen>,
    set: &Set,
    clock: &mut Clock,
) -> Standing {
    let Some(seen) = seen else { return silent(entry, set, clock) };
    match seen.phase {
        ImagePhase::Warm => warm(entry, seen, set, clock),
        ImagePhase::Failed => Standing::Failed(Reason {
            reason: seen.reason.clone().unwrap_or_else(|| "PullFailed".to_owned()),
            message: seen.message.clone().unwrap_or_default(),
        }),
        ImagePhase::Unknown => Standing::Unknown(Reason {
            reason: seen.reason.clone().unwrap_or_else(|| "Unknown".to_owned()),
            message: seen.message.clone().unwrap_or_default(),
        }),
        // Removed and Kept tell of a purge that was called off.
        ImagePhase::Pending | ImagePhase::Pulling | ImagePhase::Removed | ImagePhase::Kept => {
            silent(entry, set, clock)
        }
    }
}

fn warm(entry: &ImageWanted, seen: &ImageSeen, set: &Set, clock: &mut Clock) -> Standing {
    let Some(verified) = &seen.verified_at else {
        return Standing::unknown("NotConfirmed", "the node does not say when it looked");
    };
    if entry.verify_after.as_ref().is_some_and(|after| verified < after) {
        return silent(entry, set, clock);
    }
    if clock.passed(verified, OVERDUE) {
        return Standing::unknown("Overdue", "the node has not confirmed it for 15 minutes");
    }
    Standing::Warm
}

/// Work goes on as long as one side spoke in the time that a pull may take: then the agent is not there.
fn silent(entry: &ImageWanted, set: &Set, clock: &mut Clock) -> Standing {
    let deadline = entry.deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let limit = deadline.map_or(DEADLINE, Duration::from_secs).saturating_add(PATIENCE);
    match &set.last_word {
        Some(word) if clock.passed(word, limit) => {
            Standing::unknown("NoAnswer", "the agent of the node does not answer")
        }
        Some(_) | None => Standing::Working,
    }
}

/// Entries of a set and what its agent says of them, by image.
pub(crate) struct Answers<'a> {
    set: Option<&'a Set>,
    entries: BTreeMap<&'a str, &'a ImageWanted>,
    seen: BTreeMap<&'a str, &'a ImageSeen>,
}

impl<'a> Answers<'a> {
    pub(crate) fn of(set: Option<&'a Set>) -> Self {
        let entries = set.into_iter().flat_map(|set| &set.spec.images);
        let wanted = entries.filter(|entry| entry.purge.is_none());
        Self {
            set,
            entries: wanted.map(|entry| (entry.image.as_str(), entry)).collect(),
            seen: set.map(|set| set.status.by_image()).unwrap_or_default(),
        }
    }

    /// What the node is asked for of this name.
    pub(crate) fn entry(&self, image: &str) -> Option<&'a ImageWanted> {
        self.entries.get(image).copied()
    }

    /// Where an image stands; one that the node is not asked for yet is work.
    pub(crate) fn standing(&self, image: &str, clock: &mut Clock) -> Standing {
        match (self.set, self.entry(image)) {
            (Some(set), Some(entry)) => standing(entry, self.seen.get(image).copied(), set, clock),
            _ => Standing::Working,
        }
    }
}

/// Whether a node has all that is wanted of it; none where nothing is.
pub(crate) fn is_warm(set: Option<&Set>, selected: &Selected<'_>, clock: &mut Clock) -> Option<bool> {
    let answers = Answers::of(set);
    let chosen = selected.caches.iter().flat_map(|chosen| &chosen.images).map(|image| image.name.as_str());
    let mut images = chosen.chain(selected.frozen.iter().map(|entry| entry.image.as_str())).peekable();
    images.peek()?;
    Some(images.all(|image| answers.standing(image, clock) == Standing::Warm))
}
