//! What has to go so that broken layers can, decided from what was seen.

use std::collections::BTreeSet;

use crate::detach::Use;
use crate::detach::plan::{id_records, users_of};
use crate::detach::seen::{Seen, SeenImage};

/// What is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Withdrawal {
    /// Image records, in this order: CRI's own, then digests, then names, by which a later run finds what is left.
    pub(super) records: Vec<String>,
    /// Containers, if they have ended.
    pub(super) containers: BTreeSet<String>,
}

/// Decides. Without `force` only what Larder put there goes, with CRI's own records of that.
pub(super) fn plan(seen: &Seen, broken: &BTreeSet<String>, force: bool) -> Withdrawal {
    let is_broken = |image: &SeenImage| image.layers().any(|layer| broken.contains(&layer));
    let goes = |image: &&SeenImage| is_broken(image) && !image.is_id() && (force || image.disk().is_some());
    let going: Vec<_> = seen.images.iter().filter(goes).collect();
    let names: BTreeSet<_> = going.iter().map(|image| image.record.name.clone()).collect();
    let mut ids: BTreeSet<_> = going.iter().flat_map(|image| id_records(seen, image, &names)).collect();
    if force {
        let left = seen.images.iter().filter(|image| image.is_id() && is_broken(image));
        ids.extend(left.map(|image| image.record.name.clone()));
    }
    let (digests, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.contains('@'));
    let users = if force { users_of(seen, broken) } else { BTreeSet::new() };
    let container = |r#use| match r#use {
        Use::Container { id, .. } => Some(id),
        Use::Image(_) | Use::Snapshot(_) => None,
    };
    Withdrawal {
        records: ids.into_iter().chain(digests).chain(names).collect(),
        containers: users.into_iter().filter_map(container).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use larder_core::{Digest, Image};

    use super::*;
    use crate::containerd::{Container, ImageRecord, Snapshot, SnapshotKind};
    use crate::detach::seen::Chain;
    use crate::fixture::image;
    use crate::labels;

    /// `a`, which is ours; `f`, which somebody pulled onto its base; `c`, a container of `f`; and `o`, which has nothing of it.
    fn node() -> Seen {
        let (ours, foreign, other) = (image("a:1", &["x"]), image("f:1", &["x", "z"]), image("o:1", &["w"]));
        let disk = [(labels::DISK.to_owned(), Digest::of(b"disk").to_string())];
        let digest = ours.reference.at(ours.target().descriptor.digest).to_string();
        let records = [
            (&ours, ours.reference.to_string(), HashMap::from(disk.clone())),
            (&ours, digest, HashMap::from(disk)),
            (&ours, id(&ours), HashMap::new()),
            (&foreign, foreign.reference.to_string(), HashMap::new()),
            (&foreign, id(&foreign), HashMap::new()),
            (&other, other.reference.to_string(), HashMap::new()),
            (&other, id(&other), HashMap::new()),
        ];
        let container = Container { id: "c".to_owned(), pod: None, snapshot: "c".to_owned() };
        let parent = foreign.top().map(|top| top.to_string());
        let writable =
            Snapshot { name: "c".to_owned(), parent, kind: SnapshotKind::InUse, labels: HashMap::new() };
        let layers = foreign.layers.iter().map(|layer| Snapshot {
            name: layer.chain_id.to_string(),
            parent: layer.parent.map(|parent| parent.to_string()),
            kind: SnapshotKind::Committed,
            labels: HashMap::new(),
        });
        Seen {
            images: records.into_iter().map(|(image, name, labels)| seen(image, name, labels)).collect(),
            snapshots: layers.chain([writable]).collect(),
            containers: vec![container],
        }
    }

    fn id(image: &Image) -> String {
        image.config.descriptor.digest.to_string()
    }

    fn seen(image: &Image, name: String, labels: HashMap<String, String>) -> SeenImage {
        let target = image.target().descriptor.digest.to_string();
        let chain = Chain {
            manifest: image.manifest.descriptor.digest,
            config: image.config.descriptor.digest,
            layers: image.layers.iter().map(|layer| layer.chain_id).collect(),
        };
        SeenImage {
            record: ImageRecord { name, target, media_type: String::new(), labels },
            chains: vec![chain],
        }
    }

    fn broken() -> BTreeSet<String> {
        [image("a:1", &["x"]).layers[0].chain_id.to_string()].into()
    }

    #[test]
    fn ours_goes_with_cris_record_names_last_and_others_stay() {
        let plan = plan(&node(), &broken(), false);
        let a = image("a:1", &["x"]);
        let digest = a.reference.at(a.target().descriptor.digest).to_string();
        assert_eq!(plan.records, [id(&a), digest, a.reference.to_string()]);
        assert!(plan.containers.is_empty());
    }

    #[test]
    fn by_force_all_that_is_broken_goes_and_nothing_else() {
        let plan = plan(&node(), &broken(), true);
        let kept = image("o:1", &["w"]);
        assert_eq!(plan.records.len(), 5, "{plan:?}");
        assert!(!plan.records.contains(&kept.reference.to_string()) && !plan.records.contains(&id(&kept)));
        assert_eq!(plan.containers, ["c".to_owned()].into());
    }

    #[test]
    fn an_id_that_is_left_alone_goes_by_force_only() {
        let mut node = node();
        node.images.retain(crate::detach::seen::SeenImage::is_id);
        assert_eq!(plan(&node, &broken(), false), Withdrawal::default());
        assert_eq!(plan(&node, &broken(), true).records.len(), 2);
    }

    #[test]
    fn a_name_of_somebody_else_keeps_cris_record() {
        let mut node = node();
        let a = image("a:1", &["x"]);
        node.images.push(seen(&a, "docker.io/library/theirs:1".to_owned(), HashMap::new()));
        assert!(!plan(&node, &broken(), false).records.contains(&id(&a)));
    }
}
