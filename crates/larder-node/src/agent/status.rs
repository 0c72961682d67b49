//! What the set's status is to say, from what is wanted and what is known. Pure; whether it is written is decided apart.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use larder_api::{
    ConditionType, ImagePhase, ImageReason, ImageSeen, MAX_MESSAGE, NodeImageSetStatus, Source, Truth,
    set_condition,
};

use super::record::{Answer, Failure, Pull, Purged, Record};
use super::spec::{Entry, Spec};
use super::state::State;

/// How the images of a set stand, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    wanted: usize,
    warm: usize,
    coming: usize,
    failed: usize,
    pressed: usize,
}

impl State {
    /// The status. `before` is the latest one, for the times in its conditions; `runtime` says why the runtime cannot be asked.
    pub(super) fn status(
        &self,
        spec: &Spec,
        before: Option<&NodeImageSetStatus>,
        runtime: Option<&str>,
        now: Timestamp,
    ) -> NodeImageSetStatus {
        let blank = Record::default();
        let of = |image: &str| self.records.get(image).unwrap_or(&blank);
        let images: Vec<_> = spec.entries.iter().map(|(image, entry)| of(image).seen(entry)).collect();
        let tally = Tally::of(spec, &images);
        let mut status = NodeImageSetStatus {
            observed_generation: spec.generation,
            conditions: before.map(|before| before.conditions.clone()).unwrap_or_default(),
            images,
            warm: Some(format!("{}/{}", tally.warm, tally.wanted)),
        };
        for (kind, truth, reason, message) in conditions(tally, runtime, &status) {
            set_condition(&mut status.conditions, kind, truth, reason, message, spec.generation, now);
        }
        status
    }
}

impl Tally {
    fn of(spec: &Spec, images: &[ImageSeen]) -> Self {
        let mut tally = Self::default();
        let wanted = images
            .iter()
            .filter(|seen| spec.entries.get(&seen.image).is_some_and(|entry| entry.wanted.purge.is_none()));
        for seen in wanted {
            tally.wanted += 1;
            match seen.phase {
                ImagePhase::Warm => tally.warm += 1,
                ImagePhase::Pending | ImagePhase::Pulling => tally.coming += 1,
                ImagePhase::Failed => tally.failed += 1,
                ImagePhase::Removed | ImagePhase::Kept | ImagePhase::Unknown => {}
            }
            let words = [ImageReason::DiskPressure.name(), ImageReason::NoRoom.name()];
            tally.pressed +=
                usize::from(seen.reason.as_deref().is_some_and(|reason| words.contains(&reason)));
        }
        tally
    }
}

type Condition = (ConditionType, Truth, &'static str, String);

fn conditions(tally: Tally, runtime: Option<&str>, status: &NodeImageSetStatus) -> Vec<Condition> {
    let Tally { wanted, warm, coming, failed, pressed } = tally;
    let counted = format!("{warm} of {wanted} images are warm");
    let ready = match runtime {
        Some(why) => (Truth::Unknown, "RuntimeUnavailable", cut(why)),
        None if warm == wanted => (Truth::True, "Warm", counted),
        None if coming > 0 => (Truth::False, "Pulling", counted),
        None => (Truth::False, "PullFailed", counted),
    };
    let progressing = match coming {
        0 => (Truth::False, "Done", String::new()),
        _ => (Truth::True, "Pulling", format!("{coming} images are on their way")),
    };
    let degraded = match (runtime, failed) {
        (Some(_), _) => (Truth::True, "RuntimeUnavailable", String::new()),
        (None, 0) => (Truth::False, "AsExpected", String::new()),
        (None, _) => (Truth::True, "PullFailed", format!("{failed} images cannot be pulled")),
    };
    let name = ConditionType::DiskPressure.name();
    let pressure = match pressed {
        // Nodes that never had it need not say so.
        0 if status.conditions.iter().all(|condition| condition.type_ != name) => None,
        0 => Some((Truth::False, "EnoughRoom", String::new())),
        _ => Some((Truth::True, "DiskPressure", format!("{pressed} images wait for room on the disk"))),
    };
    let of = |kind, (truth, reason, message): (Truth, &'static str, String)| (kind, truth, reason, message);
    let always = [
        of(ConditionType::Ready, ready),
        of(ConditionType::Progressing, progressing),
        of(ConditionType::Degraded, degraded),
    ];
    always.into_iter().chain(pressure.map(|pressure| of(ConditionType::DiskPressure, pressure))).collect()
}

impl Record {
    fn seen(&self, entry: &Entry) -> ImageSeen {
        if let (false, Some(earlier)) = (self.looked, &self.earlier) {
            return earlier.clone();
        }
        let (phase, why) = self.phase(entry);
        let present = self.present.as_ref();
        let is_coming = matches!(phase, ImagePhase::Pending | ImagePhase::Pulling);
        let source = if self.is_claimed() && is_coming { Some(Source::Pulled) } else { self.source };
        let answered =
            self.answer.as_ref().filter(|answer| Some(&answer.token) == entry.wanted.purge.as_ref());
        ImageSeen {
            image: entry.wanted.image.clone(),
            phase,
            digest: present.and_then(|present| present.digest.clone()),
            bytes: present.and_then(|present| i64::try_from(present.bytes).ok()),
            percent: match self.pull {
                Pull::Under { percent, .. } if phase == ImagePhase::Pulling => percent,
                _ => None,
            },
            reason: why.as_ref().map(|why| why.reason.name().to_owned()),
            message: why.map(|why| cut(&why.message)).filter(|message| !message.is_empty()),
            verified_at: self.verified_at.filter(|_| present.is_some()).map(Time),
            source,
            purge: answered.map(|answer| answer.token.clone()),
        }
    }

    /// What was done about the purge that the set wants, if it was acted on.
    fn answered(&self, entry: &Entry) -> Option<&Answer> {
        self.answer.as_ref().filter(|answer| Some(&answer.token) == entry.wanted.purge.as_ref())
    }

    fn phase(&self, entry: &Entry) -> (ImagePhase, Option<Failure>) {
        let invalid = entry.name.as_ref().err().map(ToString::to_string);
        match (self.answered(entry).map(|answer| &answer.outcome), &self.present) {
            (Some(Purged::Removed), _) => (ImagePhase::Removed, None),
            (Some(Purged::Kept(why)), _) => (ImagePhase::Kept, Some(why.clone())),
            (None, _) if let Some(message) = invalid => {
                (ImagePhase::Failed, Some(Failure { reason: ImageReason::InvalidReference, message }))
            }
            (None, Some(_)) if !self.asked && self.is_to_be_asked(entry) => (self.coming(), None),
            (None, Some(_)) => (ImagePhase::Warm, self.failure.clone().or_else(|| self.not_pinned())),
            (None, None) if self.failure.is_some() => (ImagePhase::Failed, self.failure.clone()),
            (None, None) => (self.coming(), None),
        }
    }

    fn coming(&self) -> ImagePhase {
        match self.pull {
            Pull::Under { begun: true, .. } => ImagePhase::Pulling,
            // It was pulled, and the runtime is about to be asked for it.
            Pull::Idle if self.source == Some(Source::Pulled) && !self.looked => ImagePhase::Pulling,
            Pull::Idle
            | Pull::Announced
            | Pull::Under { begun: false, .. }
            | Pull::Held { .. }
            | Pull::Refused => ImagePhase::Pending,
        }
    }

    fn not_pinned(&self) -> Option<Failure> {
        let message = self.pin_failure.clone()?;
        Some(Failure { reason: ImageReason::PinUnavailable, message })
    }
}

/// At most as many bytes as a status takes, at a character's end.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_MESSAGE)].to_owned()
}

#[cfg(test)]
mod tests;
