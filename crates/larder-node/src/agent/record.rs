//! What the agent knows of one image: who put it there, what the runtime has, and how far a pull is.

use std::time::Duration;

use jiff::Timestamp;
use larder_api::{ImagePhase, ImageReason, ImageSeen, Source};
use tokio::time::Instant;

/// A moment: by the clock on the wall, which others read and which may jump, and by one that only goes on. `chance`, of 0 to
/// 1, keeps nodes from doing the same at the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) time: Timestamp,
    pub(super) at: Instant,
    pub(super) chance: f64,
}

impl Now {
    /// `period` from now, a tenth less or more.
    pub(super) fn in_about(&self, period: Duration) -> Instant {
        self.at + about(period, self.chance)
    }
}

/// `period`, by `chance` a tenth less or more.
pub(super) fn about(period: Duration, chance: f64) -> Duration {
    period.mul_f64(0.9 + chance.clamp(0.0, 1.0) / 5.0)
}

/// What is known of one image.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Whether the runtime was looked at since anything changed here.
    pub(super) looked: bool,
    /// What an earlier run of the agent wrote; gone with the first look.
    pub(super) earlier: Option<ImageSeen>,
    /// Who put there what is there.
    pub(super) source: Option<Source>,
    /// What the runtime has; none where it has nothing, or was not looked at.
    pub(super) present: Option<Present>,
    pub(super) pull: Pull,
    /// How often it was held since it was last there.
    pub(super) holds: u32,
    pub(super) failure: Option<Failure>,
    /// The last confirmation that counts.
    pub(super) verified_at: Option<Timestamp>,
    /// The newest `verifyAfter` that was acted on.
    pub(super) verified_for: Option<Timestamp>,
    /// The `verifyAfter` of the pull under way.
    pub(super) pulling_for: Option<Timestamp>,
    /// Whether its registry was asked since it came into the set.
    pub(super) asked: bool,
    /// When its registry is to be asked again.
    pub(super) refresh_at: Option<Instant>,
    /// It was there, and left without our doing.
    pub(super) lost: bool,
    /// What the runtime was last told about keeping it; none where that must be told.
    pub(super) pinned: Option<bool>,
    pub(super) pin_failure: Option<String>,
    pub(super) answer: Option<Answer>,
    /// Looks at the runtime that began before this tell nothing about it.
    pub(super) changed: Option<Instant>,
}

/// An image in the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) digest: Option<String>,
    pub(super) bytes: u64,
    /// Whether the kubelet is told to keep it.
    pub(super) pinned: bool,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pull {
    /// There is none to do.
    #[default]
    Idle,
    /// It begins once the status says whose the image will be.
    Announced,
    /// It waits for its turn, is under way, or pauses after a failure.
    Under {
        /// Whether its turn has come.
        begun: bool,
        /// Of its bytes, how many are there.
        percent: Option<i32>,
    },
    /// Nothing is done before this moment.
    Held { until: Instant },
    /// It cannot succeed.
    Refused,
}

/// Why an image is not there, or not newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: ImageReason,
    pub(super) message: String,
}

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) token: String,
    pub(super) outcome: Purged,
}

/// What became of an image that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purged {
    /// It is gone.
    Removed,
    /// It stays, for this reason.
    Kept(Failure),
}

impl Record {
    /// From what an earlier run wrote. An image that it was about to pull is its own, if it is there now.
    pub(super) fn recover(seen: &ImageSeen) -> Self {
        Self {
            source: seen.source,
            answer: answer(seen),
            verified_at: seen.verified_at.as_ref().map(|time| time.0),
            verified_for: seen.verified_at.as_ref().map(|time| time.0),
            asked: matches!(seen.phase, ImagePhase::Warm | ImagePhase::Kept),
            earlier: Some(seen.clone()),
            ..Self::default()
        }
    }

    /// Whether the status says, or is to say, that the image will be ours.
    pub(super) fn is_claimed(&self) -> bool {
        let coming = matches!(self.pull, Pull::Announced | Pull::Under { .. });
        coming && self.present.is_none() && self.failure.is_none()
    }
}

fn answer(seen: &ImageSeen) -> Option<Answer> {
    let outcome = match seen.phase {
        ImagePhase::Removed => Purged::Removed,
        ImagePhase::Kept => Purged::Kept(Failure {
            reason: kept_for(seen.reason.as_deref()),
            message: seen.message.clone().unwrap_or_default(),
        }),
        ImagePhase::Pending
        | ImagePhase::Pulling
        | ImagePhase::Warm
        | ImagePhase::Failed
        | ImagePhase::Unknown => return None,
    };
    Some(Answer { token: seen.purge.clone()?, outcome })
}

fn kept_for(reason: Option<&str>) -> ImageReason {
    if reason == Some(ImageReason::InUse.name()) { ImageReason::InUse } else { ImageReason::NotOurs }
}
