//! The words of a status.

use larder_api::{ImageWanted, NodeImageSet, NodeImageSetSpec};

use super::super::record::Present;
use super::*;

fn conditions_of(status: &NodeImageSetStatus) -> Vec<(String, String, String)> {
    let all = status.conditions.iter();
    all.map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone())).collect()
}

fn set(images: &[&str]) -> Spec {
    let wanted = |image: &&str| ImageWanted { image: (*image).to_owned(), ..ImageWanted::default() };
    let mut set = NodeImageSet::new(
        "n",
        NodeImageSetSpec { images: images.iter().map(wanted).collect(), refresh_seconds: None },
    );
    set.metadata.generation = Some(3);
    Spec::of(&set)
}

fn record(present: bool, failure: Option<ImageReason>) -> Record {
    let present = present.then_some(Present { digest: None, bytes: 1, pinned: false });
    let failure = failure.map(|reason| Failure { reason, message: "x".to_owned() });
    Record { looked: true, present, failure, ..Record::default() }
}

#[test]
fn conditions_say_how_the_whole_set_is() {
    let none = || record(false, None);
    let table: [(&str, Record, Option<&str>, [&str; 3]); 5] = [
        ("warm", record(true, None), None, ["True Warm", "False Done", "False AsExpected"]),
        ("coming", none(), None, ["False Pulling", "True Pulling", "False AsExpected"]),
        (
            "failed",
            record(false, Some(ImageReason::PullFailed)),
            None,
            ["False PullFailed", "False Done", "True PullFailed"],
        ),
        (
            "pressed",
            record(false, Some(ImageReason::DiskPressure)),
            None,
            ["False PullFailed", "False Done", "True PullFailed"],
        ),
        (
            "away",
            record(true, None),
            Some("gone"),
            ["Unknown RuntimeUnavailable", "False Done", "True RuntimeUnavailable"],
        ),
    ];
    for (name, record, runtime, expected) in table {
        let mut state = State::default();
        state.records.insert("r.io/a:1".to_owned(), record);
        let status = state.status(&set(&["r.io/a:1"]), None, runtime, Timestamp::UNIX_EPOCH);
        let said: Vec<_> =
            conditions_of(&status).into_iter().map(|(_, truth, why)| format!("{truth} {why}")).collect();
        assert_eq!(said[..3], expected, "{name}");
        assert_eq!(
            said.get(3).map(String::as_str),
            (name == "pressed").then_some("True DiskPressure"),
            "{name}"
        );
        assert_eq!(status.observed_generation, Some(3));
    }
}

#[test]
fn pressure_that_is_over_is_said_to_be_over() {
    let (spec, mut state) = (set(&["r.io/a:1"]), State::default());
    state.records.insert("r.io/a:1".to_owned(), record(false, Some(ImageReason::NoRoom)));
    let before = state.status(&spec, None, None, Timestamp::UNIX_EPOCH);
    state.records.insert("r.io/a:1".to_owned(), record(true, None));
    let after = state.status(&spec, Some(&before), None, Timestamp::UNIX_EPOCH);
    assert_eq!(conditions_of(&after)[3], ("DiskPressure".into(), "False".into(), "EnoughRoom".into()));
    assert_eq!(after.warm.as_deref(), Some("1/1"));
}

#[test]
fn an_empty_set_is_ready_and_messages_are_cut_at_a_character() {
    let status = State::default().status(&set(&[]), None, None, Timestamp::UNIX_EPOCH);
    assert_eq!((conditions_of(&status)[0].1.as_str(), status.warm.as_deref()), ("True", Some("0/0")));
    assert_eq!(cut(&format!("x{}", "é".repeat(MAX_MESSAGE))).len(), MAX_MESSAGE - 1);
    assert_eq!(cut("short"), "short");
}
