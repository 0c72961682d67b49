//! What an entry of a layout's `index.json` is called, there and as an image. Pure.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::{ImageRef, IndexEntry, ReferenceError};

/// The whole reference, as containerd and Docker write it.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// A tag, or a whole reference (OCI image spec, "Annotations").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

type Annotations = BTreeMap<String, String>;

/// The distinct names of all entries; an entry without any counts for none.
pub(super) fn names(entries: &[IndexEntry]) -> Vec<&str> {
    let names = entries.iter().filter_map(|entry| {
        let annotation = |name: &str| entry.annotations.get(name).map(String::as_str);
        annotation(IMAGE_NAME).or_else(|| annotation(REF_NAME))
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether `tag` is an entry's name, as it is written there or normalised.
pub(super) fn is_named(annotations: &Annotations, tag: &str) -> bool {
    let whole = |name: &String| is_whole(tag) && tag.parse::<ImageRef>().ok() == name.parse().ok();
    let image_name = annotations.get(IMAGE_NAME);
    annotations.get(REF_NAME).is_some_and(|name| name == tag)
        || image_name.is_some_and(|name| name == tag || whole(name))
}

/// The image's reference: its containerd name, else its reference name where that is more than a tag, else
/// `DIRECTORY:TAG` with the tag that was asked for or the reference name, normalised as Docker does
/// (`docker.io/library/DIRECTORY:TAG`; `latest` without any tag).
pub(super) fn reference(
    directory: &str,
    tag: Option<&str>,
    annotations: &Annotations,
) -> Result<ImageRef, ReferenceError> {
    if let Some(name) = annotations.get(IMAGE_NAME) {
        return name.parse();
    }
    let ref_name = annotations.get(REF_NAME).map(String::as_str);
    match ref_name.or(tag) {
        Some(name) if is_whole(name) => name.parse(),
        Some(tag) => format!("{directory}:{tag}").parse(),
        None => directory.parse(),
    }
}

/// A tag holds neither of these; a reference with a repository path or a tag does.
fn is_whole(name: &str) -> bool {
    name.contains(['/', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(image_name: &str, ref_name: &str) -> Annotations {
        let pairs = [(IMAGE_NAME, image_name), (REF_NAME, ref_name)];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn an_image_is_named_by_its_annotations_then_by_directory_and_tag() {
        let table = [
            ("ghcr.io/a/b:1", "1", Some("1"), "ghcr.io/a/b:1"),
            ("", "ghcr.io/a/b:1", None, "ghcr.io/a/b:1"),
            ("", "redis:7", Some("redis:7"), "docker.io/library/redis:7"),
            ("", "v1", Some("v1"), "docker.io/library/dir:v1"),
            ("", "v1", None, "docker.io/library/dir:v1"),
            ("", "", None, "docker.io/library/dir:latest"),
        ];
        for (image_name, ref_name, tag, expected) in table {
            let reference = reference("dir", tag, &annotations(image_name, ref_name)).unwrap();
            assert_eq!(reference.to_string(), expected);
        }
        assert!(reference("My Dir", None, &annotations("", "v1")).is_err());
    }

    #[test]
    fn an_image_is_found_by_tag_or_by_whole_name() {
        let entry = annotations("docker.io/library/redis:7", "7");
        for tag in ["7", "docker.io/library/redis:7", "redis:7"] {
            assert!(is_named(&entry, tag), "{tag}");
        }
        for tag in ["8", "redis", "redis:8", "REDIS:7", ""] {
            assert!(!is_named(&entry, tag), "{tag}");
        }
        assert!(!is_named(&annotations("", ""), "7"));
    }
}
