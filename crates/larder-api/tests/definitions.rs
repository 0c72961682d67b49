//! The definitions under deploy/ are those of the types, and take the documents that Larder must take.

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use larder_api::{ImageCache, custom_resource_definitions, validate, without_validation_rules};

const HEADER: &str = "# Generated from crates/larder-api by `LARDER_UPDATE=1 cargo test -p larder-api`.\n";

fn file(definition: &CustomResourceDefinition) -> PathBuf {
    let name = format!("{}.yaml", definition.spec.names.plural);
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base/crds").join(name)
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    for definition in custom_resource_definitions() {
        let text = format!("{HEADER}{}", serde_saphyr::to_string(&definition).expect("YAML"));
        let path = file(&definition);
        if std::env::var_os("LARDER_UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            std::fs::write(&path, &text).expect("written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, text, "{} is stale: LARDER_UPDATE=1 cargo test -p larder-api", path.display());
    }
}

#[test]
fn rules_are_in_the_definitions_and_can_be_taken_out() {
    let [caches, _] = custom_resource_definitions();
    let rules = |definition: &CustomResourceDefinition| {
        serde_json::to_string(definition).expect("JSON").matches("\"rule\":").count()
    };
    assert_eq!(rules(&caches), 3);
    assert_eq!(rules(&without_validation_rules(caches)), 0);
}

/// Section 9 of the design document, word for word but for its status, which a server drops.
#[test]
fn the_design_documents_manifest_is_a_valid_cache() {
    let manifest = include_str!("document.yaml");
    let cache: ImageCache = serde_saphyr::from_str(manifest).expect("a cache");
    let valid = validate(&cache.spec).expect("valid");
    assert_eq!(valid.lists.iter().map(|list| list.images.len()).collect::<Vec<_>>(), [2, 2, 2]);
    let zone = |zone: &str| [("zone".to_owned(), zone.to_owned())].into();
    let chosen = |zone_of_node: &str| -> Vec<bool> {
        valid.lists.iter().map(|list| list.nodes.matches(&zone(zone_of_node))).collect()
    };
    assert_eq!(chosen("asia-south1-a"), [true, false, true]);
    assert_eq!(chosen("asia-south1-b"), [false, true, true]);
    assert_eq!(valid.pull_secrets, ["secret1", "secret2"]);
    assert_eq!(cache.status.expect("the document's status").reason.as_deref(), Some("ImagesPulled"));
}
