//! The walls of the house: which crate may depend on which, checked against what cargo says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_tests::process::run;
use serde_json::Value;

/// What each crate may use of the others; see ARCHITECTURE.md.
const WALLS: [(&str, &[&str]); 9] = [
    ("larder-core", &[]),
    ("larder-fuzz", &["larder-core"]),
    ("larder-registry", &["larder-core", "larder-fuzz"]),
    ("larder-disk", &["larder-core", "larder-fuzz"]),
    ("larder-proto", &[]),
    ("larder-api", &["larder-core"]),
    ("larder-node", &["larder-api", "larder-core", "larder-disk", "larder-proto", "larder-registry"]),
    ("larder-controller", &["larder-api", "larder-core", "larder-registry"]),
    (
        "larder",
        &["larder-api", "larder-controller", "larder-core", "larder-disk", "larder-node", "larder-registry"],
    ),
];

/// Fails where a crate uses another through a wall, or where a crate has no walls yet.
pub(crate) fn check() -> Result<()> {
    let metadata = run(Command::new("cargo").args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("read what cargo metadata says")?;
    let broken = violations(&metadata);
    ensure!(broken.is_empty(), "dependencies through a wall: {}", broken.join(", "));
    Ok(())
}

fn violations(metadata: &Value) -> Vec<String> {
    let walls: BTreeMap<&str, &[&str]> = WALLS.into_iter().collect();
    let packages: Vec<(&str, &Value)> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package["name"].as_str()?, &package["dependencies"])))
        .filter(|(name, _)| !matches!(*name, "larder-tests" | "xtask"))
        .collect();
    let own: BTreeSet<&str> = packages.iter().map(|(name, _)| *name).collect();
    let mut broken = Vec::new();
    for (name, dependencies) in packages {
        let Some(allowed) = walls.get(name) else {
            broken.push(format!("{name} has no walls"));
            continue;
        };
        let used = dependencies
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|dependency| dependency["name"].as_str());
        let through = used.filter(|used| own.contains(used) && !allowed.contains(used));
        broken.extend(through.map(|used| format!("{name} -> {used}")));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_through_a_wall_is_named() {
        let package = |name: &str, uses: &[&str]| {
            let uses: Vec<Value> = uses.iter().map(|name| serde_json::json!({ "name": name })).collect();
            serde_json::json!({ "name": name, "dependencies": uses })
        };
        let packages = [
            package("larder-core", &["serde", "larder-disk"]),
            package("larder-disk", &["larder-core"]),
            package("larder-new", &[]),
            package("xtask", &["larder-tests"]),
        ];
        let metadata = serde_json::json!({ "packages": packages });
        assert_eq!(violations(&metadata), ["larder-core -> larder-disk", "larder-new has no walls"]);
    }
}
