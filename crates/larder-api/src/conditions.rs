//! Conditions: which there are, and how one is set without moving a transition time that did not change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The conditions of `ImageCache` and `NodeImageSet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// Every Ready node that was asked is warm.
    Ready,
    /// Work is under way.
    Progressing,
    /// Something is wrong that will not end by waiting alone.
    Degraded,
    /// Images cannot be removed from nodes without the runtime's socket.
    PurgeUnavailable,
    /// A node is wanted to hold more images than one set takes; those left out are named.
    Capped,
    /// Removed images cannot be pulled again: the node's disk is near the kubelet's threshold.
    DiskPressure,
    /// New containers with user namespaces see wrong owners on attached layers.
    UserNamespacesLimited,
}

impl ConditionType {
    /// As in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::PurgeUnavailable => "PurgeUnavailable",
            Self::Capped => "Capped",
            Self::DiskPressure => "DiskPressure",
            Self::UserNamespacesLimited => "UserNamespacesLimited",
        }
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody can say.
    Unknown,
}

impl Truth {
    /// As in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(so: bool) -> Self {
        if so { Self::True } else { Self::False }
    }
}

/// Sets one condition; its transition time moves only with its status. `reason` is one CamelCase word.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    status: Truth,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) {
    let before = conditions.iter().position(|condition| condition.type_ == kind.name());
    let unchanged = before.map(|at| &conditions[at]).filter(|condition| condition.status == status.name());
    let condition = Condition {
        type_: kind.name().to_owned(),
        status: status.name().to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: unchanged.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let mut conditions = Vec::new();
        let mut set = |status, reason: &str, now| {
            set_condition(
                &mut conditions,
                ConditionType::Ready,
                status,
                reason,
                String::new(),
                Some(1),
                at(now),
            );
            assert_eq!(conditions.len(), 1);
            (conditions[0].reason.clone(), conditions[0].last_transition_time.0)
        };
        assert_eq!(set(Truth::False, "Pulling", 1), ("Pulling".into(), at(1)));
        assert_eq!(set(Truth::False, "PullFailed", 2), ("PullFailed".into(), at(1)));
        assert_eq!(set(Truth::True, "Warm", 3), ("Warm".into(), at(3)));
    }
}
