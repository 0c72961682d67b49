use std::collections::HashMap;

use larder_core::Image;

use super::*;
use crate::attach::record_name;
use crate::containerd::{Container, ImageRecord, Snapshot, SnapshotKind};
use crate::detach::chains::Chain;
use crate::fixture::image;

/// A node, put together record by record.
#[derive(Default)]
struct Fixture(Seen);

fn disk() -> Digest {
    Digest::of(b"disk")
}

impl Fixture {
    fn record(&mut self, image: &Image, name: String, target: Digest, labels: &[(&str, String)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let record = ImageRecord { name, target: target.to_string(), media_type: String::new(), labels };
        let chain = Chain {
            manifest: image.manifest.descriptor.digest,
            config: image.config.descriptor.digest,
            layers: image.layers.iter().map(|layer| layer.chain_id).collect(),
        };
        self.0.images.push(SeenImage { record, chains: vec![chain] });
    }

    fn layers(&mut self, image: &Image, linked: bool) {
        for layer in &image.layers {
            let (name, parent) = (layer.chain_id.to_string(), layer.parent.map(|parent| parent.to_string()));
            if self.0.snapshots.iter().all(|snapshot| snapshot.name != name) {
                let labels =
                    linked.then(|| (labels::DISK.to_owned(), disk().to_string())).into_iter().collect();
                self.0.snapshots.push(Snapshot { name, parent, kind: SnapshotKind::Committed, labels });
            }
        }
    }

    fn cri_record(&mut self, image: &Image) {
        let config = image.config.descriptor.digest.to_string();
        if self.0.images.iter().all(|image| image.record.name != config) {
            self.record(image, config, image.target().descriptor.digest, &[]);
        }
    }

    fn attached(mut self, name: &str, layers: &[&str]) -> Self {
        let image = image(name, layers);
        let (target, manifest) = (image.target().descriptor.digest, image.manifest.descriptor.digest);
        let labels = |r#as: &str| [(labels::DISK, disk().to_string()), (labels::AS, r#as.to_owned())];
        self.record(&image, record_name(&image.reference), target, &labels(labels::AS_REFERENCE));
        for digest in [target, manifest] {
            let name = image.reference.at(digest).to_string();
            if self.0.images.iter().all(|image| image.record.name != name) {
                self.record(&image, name, digest, &labels(labels::AS_DIGEST));
            }
        }
        self.cri_record(&image);
        self.layers(&image, true);
        self
    }

    fn pulled(mut self, name: &str, layers: &[&str]) -> Self {
        let image = image(name, layers);
        self.record(&image, record_name(&image.reference), image.target().descriptor.digest, &[]);
        self.cri_record(&image);
        self.layers(&image, false);
        self
    }

    fn writable(mut self, key: &str, layers: &[&str]) -> Self {
        let parent = image("p", layers).top().map(|top| top.to_string());
        let snapshot =
            Snapshot { name: key.to_owned(), parent, kind: SnapshotKind::InUse, labels: HashMap::new() };
        self.0.snapshots.push(snapshot);
        self
    }

    fn container(mut self, id: &str, layers: &[&str]) -> Self {
        let container = Container { id: id.to_owned(), pod: None, snapshot: id.to_owned() };
        self.0.containers.push(container);
        self.writable(id, layers)
    }

    fn without(mut self, name: &str) -> Self {
        self.0.images.retain(|image| image.record.name != full(name));
        self
    }

    fn plan(&self, names: &[&str]) -> Plan {
        plan(&self.0, &Selection { disk: None, names: names.iter().map(|name| full(name)).collect() })
    }
}

fn full(name: &str) -> String {
    record_name(&name.parse().unwrap())
}

/// Name, and how many records and links go.
fn released(plan: &Plan) -> Vec<(&str, usize, usize)> {
    let short = |release: &'_ Release| release.name.len() - "a:1".len();
    plan.releases
        .iter()
        .map(|release| (&release.name[short(release)..], release.records.len(), release.layers.len()))
        .collect()
}

fn in_use(plan: &Plan) -> Vec<String> {
    plan.in_use.iter().map(|(name, uses)| format!("{name}: {uses:?}")).collect()
}

fn container(id: &str) -> Use {
    Use::Container { id: id.to_owned(), pod: None }
}

#[test]
fn an_idle_image_goes_with_all_its_records() {
    let plan = Fixture::default().attached("a:1", &["x", "y"]).plan(&[]);
    let a = image("a:1", &["x", "y"]);
    let [release] = &plan.releases[..] else { panic!("{plan:?}") };
    let records: BTreeSet<_> = release.records.iter().cloned().collect();
    let wanted = [
        full("a:1"),
        a.reference.at(a.target().descriptor.digest).to_string(),
        a.reference.at(a.manifest.descriptor.digest).to_string(),
        a.config.descriptor.digest.to_string(),
    ];
    assert_eq!(records, wanted.into());
    assert_eq!(release.records.last(), Some(&full("a:1")));
    assert_eq!(release.layers, a.layers.iter().map(|layer| layer.chain_id.to_string()).collect());
    assert!(plan.in_use.is_empty() && plan.not_attached.is_empty());
}

#[test]
fn layers_of_an_image_that_stays_stay() {
    let node = Fixture::default().attached("a:1", &["x"]).attached("b:1", &["x", "y"]);
    assert_eq!(released(&node.plan(&["b:1"])), [("b:1", 4, 1)]);
    assert_eq!(released(&node.plan(&["a:1"])), [("a:1", 4, 0)]);
    assert_eq!(released(&node.plan(&[])), [("a:1", 4, 1), ("b:1", 4, 2)]);
}

#[test]
fn a_container_keeps_its_image_and_no_other() {
    let node =
        Fixture::default().attached("a:1", &["x"]).attached("b:1", &["x", "y"]).container("c", &["x", "y"]);
    let plan = node.plan(&[]);
    assert_eq!(in_use(&plan), [format!("{}: {:?}", full("b:1"), [container("c")])]);
    assert_eq!(released(&plan), [("a:1", 4, 0)]);
    assert_eq!(released(&node.plan(&["a:1"])), [("a:1", 4, 0)]);
}

#[test]
fn a_container_keeps_its_image_also_where_another_image_keeps_the_layers() {
    let node = Fixture::default().attached("a:1", &["x"]).attached("b:1", &["x", "y"]).container("c", &["x"]);
    assert_eq!(in_use(&node.plan(&["a:1"])), [format!("{}: {:?}", full("a:1"), [container("c")])]);
    assert_eq!(released(&node.plan(&["b:1"])), [("b:1", 4, 1)]);
}

#[test]
fn a_pulled_image_keeps_the_layers_that_it_was_built_on() {
    let node = Fixture::default().attached("a:1", &["x"]).attached("b:1", &["y"]).pulled("f:1", &["x", "z"]);
    let plan = node.plan(&[]);
    assert_eq!(in_use(&plan), [format!("{}: {:?}", full("a:1"), [Use::Image(full("f:1"))])]);
    assert_eq!(released(&plan), [("b:1", 4, 1)]);
}

#[test]
fn a_container_of_a_pulled_image_is_named_beside_it() {
    let node =
        Fixture::default().attached("a:1", &["x"]).pulled("f:1", &["x", "z"]).container("c", &["x", "z"]);
    let uses = [container("c"), Use::Image(full("f:1"))];
    assert_eq!(in_use(&node.plan(&[])), [format!("{}: {uses:?}", full("a:1"))]);
}

#[test]
fn a_pull_of_the_same_image_keeps_it_and_its_id() {
    let node = Fixture::default().attached("a:1", &["x"]).pulled("f:1", &["x"]);
    assert_eq!(in_use(&node.plan(&[])), [format!("{}: {:?}", full("a:1"), [Use::Image(full("f:1"))])]);
}

#[test]
fn pulled_layers_are_nobodys_links() {
    let node = Fixture::default().pulled("f:1", &["x"]).attached("a:1", &["x"]);
    let plan = node.plan(&[]);
    assert_eq!(released(&plan), [("a:1", 3, 0)]);
    let config = image("a", &["x"]).config.descriptor.digest.to_string();
    assert!(!plan.releases[0].records.contains(&config));
}

#[test]
fn a_digest_that_somebody_pulled_stays_and_what_is_gone_is_not_removed() {
    let digest = image("a:1", &["x"]).manifest.descriptor.digest;
    let node = Fixture::default().pulled(&format!("a@{digest}"), &["x"]).attached("a:1", &["x"]);
    assert_eq!(released(&node.plan(&["a:1"])), [("a:1", 2, 0)]);
    let mut without_id = Fixture::default().attached("a:1", &["x"]);
    without_id.0.images.retain(|image| !image.is_id());
    assert_eq!(released(&without_id.plan(&[])), [("a:1", 3, 1)]);
}

#[test]
fn views_and_layers_of_no_image_are_uses() {
    let node = Fixture::default().attached("a:1", &["x"]).writable("view", &["x"]);
    assert_eq!(
        in_use(&node.plan(&[])),
        [format!("{}: {:?}", full("a:1"), [Use::Snapshot("view".to_owned())])]
    );
    let node = Fixture::default().attached("a:1", &["x"]).pulled("f:1", &["x", "z"]);
    let id = image("f:1", &["x", "z"]).config.descriptor.digest.to_string();
    let by_id = node.without("f:1");
    assert_eq!(in_use(&by_id.plan(&[])), [format!("{}: {:?}", full("a:1"), [Use::Image(id.clone())])]);
    let mut orphan = by_id;
    orphan.0.images.retain(|image| image.record.name != id);
    let top = image("f:1", &["x", "z"]).top().unwrap().to_string();
    assert_eq!(in_use(&orphan.plan(&[])), [format!("{}: {:?}", full("a:1"), [Use::Snapshot(top)])]);
}

#[test]
fn two_names_of_one_image_share_its_digests() {
    let node = Fixture::default().attached("a:1", &["x"]).attached("a:2", &["x"]);
    assert_eq!(released(&node.plan(&["a:1"])), [("a:1", 1, 0)]);
    assert_eq!(released(&node.plan(&[])), [("a:1", 4, 1), ("a:2", 4, 1)]);
}

#[test]
fn a_container_keeps_only_the_last_name_of_its_image() {
    let node = Fixture::default().attached("a:1", &["x"]).attached("a:2", &["x"]).container("c", &["x"]);
    let plan = node.plan(&["a:1"]);
    assert_eq!((released(&plan), in_use(&plan)), (vec![("a:1", 1, 0)], vec![]));
    assert_eq!(node.plan(&[]).in_use.len(), 2);
}

#[test]
fn what_others_stand_on_is_copied_where_its_link_would_go() {
    let node = Fixture::default()
        .attached("a:1", &["x", "y"])
        .attached("b:1", &["w"])
        .attached("d:1", &["w", "v"])
        .container("c", &["w"])
        .pulled("f:1", &["x", "z"])
        .pulled("g:1", &["w", "z"]);
    let base = image("a:1", &["x", "y"]).layers[0].chain_id.to_string();
    assert_eq!(shared(&node.0, &Selection::default()), [base].into());
    let running = Selection { disk: None, names: vec![full("b:1")] };
    assert_eq!(shared(&node.0, &running), [].into());
}

#[test]
fn an_image_answers_to_its_digests() {
    let node = Fixture::default().attached("a:1", &["x"]);
    let digest = image("a:1", &["x"]).manifest.descriptor.digest;
    assert_eq!(released(&node.plan(&[&format!("a@{digest}")])), [("a:1", 4, 1)]);
    let plan = node.plan(&["b:1"]);
    assert_eq!((released(&plan), &plan.not_attached), (vec![], &vec![full("b:1")]));
}

#[test]
fn what_an_interrupted_detach_left_goes_with_the_next() {
    let a = image("a:1", &["x"]);
    let node = Fixture::default().attached("a:1", &["x"]).without("a:1");
    let plan = node.plan(&[]);
    let records: BTreeSet<_> = plan.releases.iter().flat_map(|release| release.records.clone()).collect();
    let wanted = [
        a.reference.at(a.target().descriptor.digest).to_string(),
        a.reference.at(a.manifest.descriptor.digest).to_string(),
        a.config.descriptor.digest.to_string(),
    ];
    assert_eq!(records, wanted.into());
}

#[test]
fn what_holds_a_disk_is_named() {
    let node = Fixture::default()
        .attached("a:1", &["x"])
        .attached("b:1", &["y"])
        .pulled("f:1", &["x", "z"])
        .pulled("g:1", &["w"])
        .container("c", &["y"]);
    let wanted = [container("c"), Use::Image(full("a:1")), Use::Image(full("b:1")), Use::Image(full("f:1"))];
    assert_eq!(holders(&node.0, disk()), wanted);
    assert_eq!(holders(&node.0, Digest::of(b"other")), []);
}

#[test]
fn another_disks_images_stay() {
    let node = Fixture::default().attached("a:1", &["x"]);
    let other = Selection { disk: Some(Digest::of(b"other")), names: vec![] };
    assert_eq!(plan(&node.0, &other), Plan::default());
    let this = Selection { disk: Some(disk()), names: vec![] };
    assert_eq!(released(&plan(&node.0, &this)), [("a:1", 4, 1)]);
    assert_eq!(plan(&Seen::default(), &this), Plan::default());
}

#[test]
fn a_digest_whose_name_points_elsewhere_is_an_orphan_in_its_repository_only() {
    let a = image("a:1", &["x"]);
    let node = Fixture::default().attached("a:1", &["x"]).attached("a:2", &["y"]).without("a:1");
    let mut digests =
        [a.target(), &a.manifest].map(|blob| a.reference.at(blob.descriptor.digest).to_string());
    digests.sort();
    let [first, second] = digests;
    let wanted = [a.config.descriptor.digest.to_string(), first, second];
    assert_eq!(orphans(&node.0, &[a.reference.name()].into()), wanted);
    assert!(orphans(&node.0, &["docker.io/library/b".to_owned()].into()).is_empty());
    let by_digest = format!("a@{}", a.manifest.descriptor.digest);
    for name in ["a:1", &by_digest] {
        let whole = Fixture::default().attached(name, &["x"]);
        assert!(orphans(&whole.0, &[a.reference.name()].into()).is_empty(), "{name}");
    }
}
