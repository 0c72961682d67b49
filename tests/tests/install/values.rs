//! The chart's values: the schema that they keep, and the table that tells of them.

use std::collections::BTreeSet;
use std::fs;

use larder_tests::kubernetes_schema::documents;
use serde_json::Value;

use super::{chart, deploy, examples};

const BEGIN: &str =
    "<!-- Generated from values.yaml by `LARDER_UPDATE=1 cargo test -p larder-tests --test install`. -->\n";

#[test]
fn values_that_cannot_be_meant_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.yaml");
    let table = [
        ("agnet: {}", "agnet"),
        ("controller: {replicas: two}", "replicas"),
        ("controller: {replicas: 0}", "replicas"),
        ("controller: {refreshFrequency: 15}", "refreshFrequency"),
        ("controller: {refreshFrequency: 15 minutes}", "refreshFrequency"),
        ("controller: {pullPolicy: Never}", "pullPolicy"),
        ("controller: {namespaces: [A]}", "namespaces"),
        ("controller: {namespaces: shop}", "namespaces"),
        ("controller: {allowedRegistries: [a.io b.io]}", "allowedRegistries"),
        ("agent: {pullSecrets: [{name: registry}]}", "pullSecrets"),
        ("agent: {criSocket: containerd.sock}", "criSocket"),
        ("agent: {maxUnavailable: 0%}", "maxUnavailable"),
        ("image: {digest: latest}", "digest"),
        ("openshift: sometimes", "openshift"),
    ];
    for (text, name) in table {
        fs::write(&file, text).unwrap();
        let error = format!("{:#}", chart().render(Some(&file)).unwrap_err());
        assert!(error.contains(name), "{text}: {error}");
    }
}

#[test]
fn the_table_of_values_is_that_of_the_values() {
    let chart = deploy().join("charts/larder");
    let path = chart.join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (head, _) = readme.split_once(BEGIN).unwrap();
    let rows = rows(&fs::read_to_string(chart.join("values.yaml")).unwrap());
    let told: BTreeSet<String> = rows.iter().map(|row| row.key.clone()).collect();
    let values = documents(&chart.join("values.yaml")).unwrap().remove(0);
    assert_eq!(told, keys(&values), "a value without a comment, or a comment without a value");
    let table: String = rows.iter().map(Row::line).collect();
    let text = format!("{head}{BEGIN}\n| value | default | |\n|---|---|---|\n{table}");
    if std::env::var_os("LARDER_UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(readme, text, "README.md is stale: LARDER_UPDATE=1 cargo test -p larder-tests --test install");
}

#[test]
fn the_example_with_everything_changes_every_value_that_can_be_changed() {
    let chart = deploy().join("charts/larder");
    let everything = examples().into_iter().find(|path| path.ends_with("everything.yaml")).unwrap();
    let [values, everything] =
        [chart.join("values.yaml"), everything].map(|path| documents(&path).unwrap().remove(0));
    assert_eq!(keys(&everything), keys(&values));
    for key in keys(&values).iter().filter(|key| *key != "agent.enabled") {
        let pointer = format!("/{}", key.replace('.', "/"));
        assert_ne!(everything.pointer(&pointer), values.pointer(&pointer), "{key}");
    }
}

/// A value, its default as values.yaml writes it, and the comment above it.
struct Row {
    key: String,
    default: String,
    comment: String,
}

impl Row {
    fn line(&self) -> String {
        let Self { key, default, comment } = self;
        format!("| `{key}` | `{default}` | {comment} |\n")
    }
}

/// Each value with a comment above it, in the file's order; what lies below such a value belongs to it.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut group, mut comment) = (Vec::<Row>::new(), "", None);
    for line in text.lines() {
        if let Some(said) = line.trim_start().strip_prefix("# ") {
            comment = Some(said.to_owned());
        } else if let Some((key, default)) = line.split_once(':') {
            let name = key.trim_start();
            match (comment.take(), key.len() - name.len()) {
                (None, 0) => group = name,
                (Some(comment), indent) => {
                    let key = if indent == 0 { name.to_owned() } else { format!("{group}.{name}") };
                    rows.push(Row { key, default: default.trim().to_owned(), comment });
                }
                (None, _) => {
                    let default = &mut rows.last_mut().unwrap().default;
                    let comma = if default.is_empty() { "" } else { ", " };
                    *default = format!("{default}{comma}{}", line.trim());
                }
            }
        } else {
            comment = None;
        }
    }
    rows
}

/// The values of the two levels that the chart has.
fn keys(values: &Value) -> BTreeSet<String> {
    let below = |group: &str, value: &Value| -> Vec<String> {
        let Some(map) = value.as_object() else { return vec![group.to_owned()] };
        map.keys().map(|key| format!("{group}.{key}")).collect()
    };
    values.as_object().unwrap().iter().flat_map(|(group, value)| below(group, value)).collect()
}
