//! The rules, one by one, beside those of the schema.

use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> ImageCacheSpec {
    serde_json::from_value(value).expect("a spec")
}

#[test]
fn a_spec_with_every_field_is_taken_whole() {
    let valid = validate(&spec(json!({
        "cacheSpec": [
            {"images": ["nginx:1.15.5", "docker.io/library/nginx:1.15.5"], "nodeSelector": "zone=a"},
            {"images": ["r.example:5000/x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},
        ],
        "imagePullSecrets": [{"name": "one"}],
        "pullBy": "Job", "deadline": "1m30s", "maxParallelNodes": "10%", "maxPullsPerRegistry": 4,
        "pullPolicy": "Always", "tolerations": [{"operator": "Exists"}], "priorityClassName": "low",
    })));
    let valid = valid.expect("valid");
    let images: Vec<_> =
        valid.lists[0].images.iter().map(|(text, image)| (text.as_str(), image.to_string())).collect();
    let normal = "docker.io/library/nginx:1.15.5".to_owned();
    assert_eq!(images, [("nginx:1.15.5", normal.clone()), ("docker.io/library/nginx:1.15.5", normal)]);
    assert_eq!(valid.lists[1].nodes, NodeSelector::default());
    assert_eq!(valid.pull_secrets, ["one"]);
    assert_eq!(valid.deadline, Some(Duration::from_secs(90)));
    assert_eq!((valid.pull_by, valid.pin, valid.pull_policy), (PullBy::Job, false, PullPolicy::Always));
    assert_eq!(valid.max_parallel_nodes, Some(MaxNodes::Percent(10)));
    assert_eq!(valid.max_pulls_per_registry, NonZeroU32::new(4));
}

#[test]
fn each_broken_rule_is_named() {
    let with = |field: &str, value: Value| {
        let mut spec = json!({"cacheSpec": [{"images": ["a"]}]});
        spec[field] = value;
        spec
    };
    let images = |images: Value| with("cacheSpec", json!([{"images": images}]));
    let cases = [
        (with("cacheSpec", json!([])), "cacheSpec has no list of images"),
        (images(json!([])), "No images specified within image list"),
        (images(json!(["a", "b", "a"])), "Duplicate image names within image list: a"),
        (
            images(json!(["Nginx"])),
            "image reference \"Nginx\": \"library/Nginx\" is not a repository name (lower-case letters, digits, and . _ - between them)",
        ),
        (
            with("cacheSpec", json!([{"images": ["a"], "nodeSelector": 1}])),
            "nodeSelector is 1; write a map of labels, or key=value",
        ),
        (with("deadline", json!("0s")), "deadline must be more than 0s"),
        (
            with("deadline", json!("soon")),
            "deadline \"soon\": expected numbers with ns, us, ms, s, m or h, such as 20s or 1h30m",
        ),
        (with("maxParallelNodes", json!(0)), "maxParallelNodes must be 1 or more, or 1% to 100%"),
        (with("maxParallelNodes", json!("101%")), "maxParallelNodes must be 1 or more, or 1% to 100%"),
        (with("maxParallelNodes", json!("+1%")), "maxParallelNodes must be 1 or more, or 1% to 100%"),
        (with("maxParallelNodes", json!("10")), "maxParallelNodes must be 1 or more, or 1% to 100%"),
        (with("maxPullsPerRegistry", json!(0)), "maxPullsPerRegistry must be 1 or more"),
        (
            json!({"cacheSpec": [{"images": ["a"]}], "pin": true, "pullBy": "Job"}),
            "pin needs the runtime's socket: pullBy must be Agent",
        ),
    ];
    for (value, message) in cases {
        assert_eq!(validate(&spec(value.clone())).expect_err("refused").to_string(), message, "{value}");
    }
}

#[test]
fn a_share_of_nodes_is_rounded_up() {
    let share = MaxNodes::Percent(10);
    assert_eq!([0, 1, 10, 11, 1000].map(|nodes| share.of(nodes)), [0, 1, 1, 2, 100]);
    assert_eq!(MaxNodes::Count(NonZeroU32::MIN).of(50), 1);
}
