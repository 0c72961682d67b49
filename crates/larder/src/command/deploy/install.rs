//! What deploy/ installs, read back as typed objects: the same rules hold for it as for what is printed.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use serde_json::Value;

use crate::cli::Cli;
use crate::deploy::Object;

const FILES: [&str; 3] = ["base/controller.yaml", "base/agent.yaml", "base/users.yaml"];
/// Kinds about which there are no rules.
const OTHERS: [&str; 2] = ["PodDisruptionBudget", "PriorityClass"];
/// Commands of the install that this program has.
const CHECKED: [&str; 3] = ["controller", "agent", "release-caches"];

fn documents(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The objects of the whole install, with a name for messages.
pub(super) fn installed() -> impl Iterator<Item = (&'static str, Vec<Object>)> {
    let values = FILES.iter().flat_map(|file| documents(file));
    let known = values.filter(|value| !OTHERS.contains(&value["kind"].as_str().unwrap()));
    let typed = known.map(|value| {
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
    });
    std::iter::once(("deploy/base", typed.collect()))
}

/// The words that each container of the install gives to larder.
fn arguments() -> Vec<Vec<String>> {
    let pods = FILES.iter().flat_map(|file| documents(file));
    let containers =
        pods.flat_map(|value| value.pointer("/spec/template/spec/containers").cloned().into_iter());
    let containers = containers.flat_map(|list| list.as_array().cloned().unwrap_or_default());
    containers.map(|container| serde_json::from_value(container["args"].clone()).unwrap()).collect()
}

#[test]
fn the_install_gives_larder_only_arguments_that_it_takes() {
    let all = arguments();
    let commands: Vec<&str> = all.iter().map(|words| words[0].as_str()).collect();
    assert_eq!(commands, ["controller", "agent"]);
    let release = ["release-caches", "--namespace=larder-system", "--controller=larder-controller"];
    let release = release.map(str::to_owned).to_vec();
    for words in all.iter().chain([&release]).filter(|words| CHECKED.contains(&words[0].as_str())) {
        let typed = Cli::try_parse_from(std::iter::once("larder").chain(words.iter().map(String::as_str)));
        assert!(typed.is_ok(), "{words:?}: {}", typed.unwrap_err());
    }
}
