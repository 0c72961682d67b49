//! Whether a cache is warm, as its own conditions say of the spec that was written. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use larder_api::{ConditionType, ImageCache, Truth, names};

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every Ready node has all; on how many.
    Warm(String),
    /// It will not come by waiting.
    Failed(String),
    /// Not yet.
    Waiting,
}

/// Judges what is there now, none if nothing is, against what was written.
pub(super) fn judge(cache: Option<&ImageCache>, written: &ImageCache) -> Verdict {
    let Some(cache) = cache.filter(|cache| cache.metadata.uid == written.metadata.uid) else {
        return Verdict::Failed("somebody deleted it".to_owned());
    };
    if cache.metadata.deletion_timestamp.is_some() {
        return Verdict::Failed("somebody is deleting it".to_owned());
    }
    // An older sight of it than what was written, or a refresh that nobody has taken up.
    if cache.metadata.generation < written.metadata.generation
        || cache.annotations().contains_key(names::REFRESH)
    {
        return Verdict::Waiting;
    }
    let is = |kind| condition(cache, kind).is_some_and(|condition| condition.status == Truth::True.name());
    match () {
        () if is(ConditionType::Ready) => Verdict::Warm(nodes(cache)),
        () if is(ConditionType::Degraded) && !is(ConditionType::Progressing) => {
            let said = condition(cache, ConditionType::Degraded).map(|condition| condition.message.clone());
            Verdict::Failed(said.unwrap_or_default())
        }
        () => Verdict::Waiting,
    }
}

/// What keeps it from being Ready, or from being gone; for whoever waited in vain.
pub(super) fn waiting_for(cache: &ImageCache) -> String {
    match condition(cache, ConditionType::Ready) {
        _ if cache.metadata.deletion_timestamp.is_some() => {
            format!("it still has {}", cache.finalizers().join(", "))
        }
        Some(condition) => format!("{}: {}", condition.reason, condition.message),
        None => "no controller has looked at it".to_owned(),
    }
}

/// A condition, if it speaks of the spec as it is.
fn condition(cache: &ImageCache, kind: ConditionType) -> Option<&Condition> {
    let mut conditions = cache.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| {
        condition.type_ == kind.name() && condition.observed_generation == cache.metadata.generation
    })
}

fn nodes(cache: &ImageCache) -> String {
    let ready = cache.status.as_ref().and_then(|status| status.nodes_ready.as_deref());
    ready.map_or_else(|| "warm".to_owned(), |ready| format!("warm on {ready} nodes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cache(generation: i64, conditions: &[(&str, &str, i64)]) -> ImageCache {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status, observed)| {
                json!({ "type": kind, "status": status, "observedGeneration": observed, "reason": "R", "message": "m",
                    "lastTransitionTime": "2026-01-02T03:04:05Z" })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
            "metadata": { "name": "warm", "uid": "1", "generation": generation },
            "spec": { "cacheSpec": [{ "images": ["a:1"] }] },
            "status": { "conditions": conditions, "nodesReady": "2/3" },
        }))
        .unwrap()
    }

    #[test]
    fn only_a_condition_of_this_very_spec_counts() {
        let written = cache(2, &[]);
        let warm = || Verdict::Warm("warm on 2/3 nodes".to_owned());
        let failed = || Verdict::Failed("m".to_owned());
        let table = [
            (cache(2, &[]), Verdict::Waiting),
            (cache(2, &[("Ready", "True", 2)]), warm()),
            (cache(2, &[("Ready", "True", 1)]), Verdict::Waiting),
            (cache(1, &[("Ready", "True", 1)]), Verdict::Waiting),
            (cache(3, &[("Ready", "True", 2)]), Verdict::Waiting),
            (cache(3, &[("Ready", "True", 3)]), warm()),
            (cache(2, &[("Ready", "Unknown", 2)]), Verdict::Waiting),
            (cache(2, &[("Ready", "False", 2), ("Degraded", "True", 2)]), failed()),
            (cache(2, &[("Degraded", "True", 2), ("Progressing", "True", 2)]), Verdict::Waiting),
            (cache(2, &[("Degraded", "True", 1)]), Verdict::Waiting),
        ];
        for (cache, expected) in table {
            assert_eq!(judge(Some(&cache), &written), expected, "{cache:?}");
        }
    }

    #[test]
    fn what_was_deleted_replaced_or_is_to_be_looked_at_again_is_not_warm() {
        let ready = || cache(2, &[("Ready", "True", 2)]);
        let written = ready();
        let mut other = ready();
        other.metadata.uid = Some("2".to_owned());
        let mut deleting = ready();
        deleting.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap());
        let mut refreshing = ready();
        refreshing.metadata.annotations = Some([(names::REFRESH.to_owned(), "1".to_owned())].into());
        assert!(matches!(judge(None, &written), Verdict::Failed(_)));
        assert!(matches!(judge(Some(&other), &written), Verdict::Failed(_)));
        assert!(matches!(judge(Some(&deleting), &written), Verdict::Failed(_)));
        assert_eq!(judge(Some(&refreshing), &written), Verdict::Waiting);
    }
}
