//! Verdicts on a node of one disk with one image of two layers, and of what may go wrong there.

use std::collections::{BTreeMap, HashMap};

use larder_core::Image;
use larder_disk::CacheDisk;

use super::super::look::SeenDisk;
use super::super::report::DiskFault;
use super::super::subject::{ListedImage, subjects};
use super::*;
use crate::containerd::SnapshotKind;
use crate::detach::seen::SeenImage;
use crate::fixture::image;

const NAME: &str = "docker.io/library/a:1";

/// What there is on the node; taken apart by the tests.
struct Given {
    image: Image,
    disk: Digest,
    content: Result<CacheDisk, DiskFault>,
    records: Vec<SeenImage>,
    snapshots: BTreeMap<String, Snapshot>,
    links: BTreeMap<PathBuf, bool>,
    blobs: BTreeSet<Digest>,
    cri: Option<BTreeMap<String, Digest>>,
    listed: Vec<ListedImage>,
}

fn place(disk: Digest) -> PathBuf {
    PathBuf::from("/disks").join(disk.hex())
}

fn directory(number: usize) -> PathBuf {
    format!("snapshots/{number}/fs").into()
}

fn snapshot(layer: &larder_core::Layer, labels: &[(&str, String)]) -> (String, Snapshot) {
    let name = layer.chain_id.to_string();
    let parent = layer.parent.map(|parent| parent.to_string());
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    (name.clone(), Snapshot { name, parent, kind: SnapshotKind::Committed, labels })
}

fn record(image: &Image, labels: &[(&str, String)]) -> SeenImage {
    let target = &image.target().descriptor;
    let labels: HashMap<_, _> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let chain = crate::detach::seen::Chain {
        manifest: image.manifest.descriptor.digest,
        config: image.config.descriptor.digest,
        layers: image.layers.iter().map(|layer| layer.chain_id).collect(),
    };
    let record = ImageRecord {
        name: image.reference.to_string(),
        target: target.digest.to_string(),
        media_type: target.media_type.clone(),
        labels,
    };
    SeenImage { record, chains: vec![chain] }
}

impl Given {
    /// All is well.
    fn attached() -> Self {
        let image = image("a:1", &["x", "y"]);
        let disk = Digest::of(b"disk");
        let label = || (labels::DISK, disk.to_string());
        let layers = image.layers.iter().zip(1..);
        let snapshots = layers.clone().map(|(layer, number)| {
            snapshot(layer, &[label(), (labels::DIRECTORY, directory(number).display().to_string())])
        });
        let blobs = image.indexes.iter().chain([&image.manifest, &image.config]);
        let content = CacheDisk {
            id: disk,
            images: vec![image.clone()],
            layers: layers.clone().map(|(layer, number)| (layer.chain_id, directory(number))).collect(),
        };
        let ours =
            [label(), (labels::AS, labels::AS_REFERENCE.to_owned()), (labels::PINNED, "pinned".to_owned())];
        Self {
            disk,
            content: Ok(content),
            records: vec![record(&image, &ours)],
            snapshots: snapshots.collect(),
            links: layers.clone().map(|(_, number)| (place(disk).join(directory(number)), true)).collect(),
            blobs: blobs.map(|blob| blob.descriptor.digest).collect(),
            cri: Some([(NAME.to_owned(), image.config.descriptor.digest)].into()),
            listed: Vec::new(),
            image,
        }
    }

    fn judged(self) -> Vec<ImageStatus> {
        let Self { image: _, disk, content, records, snapshots, links, blobs, cri, listed } = self;
        let disks = vec![SeenDisk { id: disk, place: place(disk), content, hydration: None }];
        let subjects = subjects(&disks, &records, &snapshots, &listed);
        judge(&Seen { disks, subjects, snapshots, links, blobs, cri })
    }

    fn reasons(self) -> Vec<Cold> {
        let [status] = &self.judged()[..] else { panic!("one image") };
        status.reasons.clone()
    }

    fn target(&self, number: usize) -> PathBuf {
        place(self.disk).join(directory(number))
    }
}

#[test]
fn an_attached_image_is_warm() {
    let judged = Given::attached().judged();
    let [status] = &judged[..] else { panic!("{judged:?}") };
    assert!(status.is_warm() && status.pinned && status.origin == Origin::Disk, "{status:?}");
    assert_eq!((status.name.as_str(), status.layers, status.linked), (NAME, Some(2), 2));
}

#[test]
fn each_fault_has_its_reason() {
    let given = Given::attached;
    let layer = given().image.layers[1].chain_id;

    let mut withdrawn = given();
    withdrawn.records.clear();
    let withdrawn = &withdrawn.judged()[0];
    assert_eq!((withdrawn.origin, &withdrawn.reasons[..]), (Origin::Disk, &[Cold::NoRecord][..]));

    let mut removed = given();
    removed.snapshots.remove(&layer.to_string());
    assert_eq!(removed.reasons(), [Cold::LayersMissing { layers: vec![layer] }]);

    let mut unlinked = given();
    let target = unlinked.target(2);
    unlinked.links.remove(&target);
    assert_eq!(unlinked.reasons(), [Cold::LinksMissing { layers: vec![layer] }]);

    let mut dangling = given();
    dangling.links.insert(target.clone(), false);
    assert_eq!(dangling.reasons(), [Cold::LinksDangling { layers: vec![layer], target }]);

    let mut without = given();
    let config = without.image.config.descriptor.digest;
    without.blobs.remove(&config);
    assert_eq!(without.reasons(), [Cold::BlobsMissing { blobs: vec![config] }]);

    let mut unlisted = given();
    unlisted.cri = Some(BTreeMap::new());
    assert_eq!(unlisted.reasons(), [Cold::NotInCri]);

    let (mut other, found) = (given(), Digest::of(b"other"));
    other.cri = Some([(NAME.to_owned(), found)].into());
    assert_eq!(other.reasons(), [Cold::OtherInCri { found }]);
}

#[test]
fn a_disk_that_is_away_is_the_reason_also_for_what_others_pulled_onto_it() {
    let mut given = Given::attached();
    given.content = Err(DiskFault::NotMounted);
    given.links.values_mut().for_each(|good| *good = false);
    let above = image("b:1", &["x", "z"]);
    let (name, own) = snapshot(&above.layers[1], &[]);
    given.snapshots.insert(name, own);
    let mut by_digest = record(&above, &[]);
    by_digest.record.name = above.reference.at(above.target().descriptor.digest).to_string();
    let mut id = record(&above, &[]);
    id.record.name = above.config.descriptor.digest.to_string();
    given.records.extend([by_digest, record(&above, &[]), id]);
    given.records.push(record(&image("c:1", &["other"]), &[]));
    given.blobs.extend([above.manifest.descriptor.digest, above.config.descriptor.digest]);
    given.cri.as_mut().unwrap().insert("docker.io/library/b:1".to_owned(), above.config.descriptor.digest);
    let disk = given.disk;
    let judged = given.judged();
    let seen: Vec<_> = judged.iter().map(|image| (image.name.as_str(), image.origin, image.linked)).collect();
    assert_eq!(seen, [(NAME, Origin::Disk, 0), ("docker.io/library/b:1", Origin::Others, 0)]);
    assert!(judged.iter().all(|image| image.reasons == [Cold::DiskAway { disk }]), "{judged:?}");
}

#[test]
fn what_others_pulled_is_warm_and_theirs() {
    let mut given = Given::attached();
    given.records = vec![record(&given.image, &[])];
    given.snapshots.values_mut().for_each(|snapshot| snapshot.labels.clear());
    given.links.clear();
    let judged = given.judged();
    assert!(judged[0].is_warm() && !judged[0].pinned, "{judged:?}");
    assert_eq!((judged[0].origin, judged[0].linked), (Origin::Others, 0));
}

#[test]
fn a_name_that_leads_to_other_content_is_told_unless_it_is_the_same_image() {
    let mut given = Given::attached();
    let (found, wanted) = (Digest::of(b"theirs"), given.image.target().descriptor.digest);
    given.records[0].record.target = found.to_string();
    given.cri = Some([(NAME.to_owned(), Digest::of(b"theirs"))].into());
    assert_eq!(given.reasons(), [Cold::OtherContent { found: found.to_string(), wanted }]);
    let mut same = Given::attached();
    same.records[0].record.target = same.image.manifest.descriptor.digest.to_string();
    assert_eq!(same.reasons(), []);
}

#[test]
fn a_link_that_is_ahead_of_its_labels_counts() {
    let mut given = Given::attached();
    for snapshot in given.snapshots.values_mut() {
        snapshot.labels.insert(labels::DISK.to_owned(), Digest::of(b"old").to_string());
    }
    assert_eq!(given.reasons(), []);
}

#[test]
fn where_cri_does_not_serve_containerd_has_the_last_word() {
    let mut given = Given::attached();
    given.cri = None;
    assert_eq!(given.reasons(), []);
}

/// An image that CRI has from elsewhere, unpacked, and its one layer.
fn pulled(given: &mut Given, name: &str) -> Image {
    let image = image(name, &[name]);
    given.records.push(record(&image, &[]));
    given.snapshots.extend([snapshot(&image.layers[0], &[])]);
    given.cri.as_mut().unwrap().insert(image.reference.to_string(), image.config.descriptor.digest);
    image
}

fn listed(image: &Image, tags: &[&str], digests: &[String]) -> ListedImage {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    ListedImage { id: image.config.descriptor.digest, tags, digests: digests.to_vec() }
}

#[test]
fn what_no_disk_concerns_is_listed_as_the_runtimes_each_image_by_the_names_that_pods_use() {
    let mut given = Given::attached();
    let by_digest = |image: &Image| image.reference.at(image.manifest.descriptor.digest).to_string();
    let ours = by_digest(&given.image);
    let mut digest_record = record(&given.image, &[(labels::DISK, given.disk.to_string())]);
    digest_record.record.name.clone_from(&ours);
    digest_record.record.labels.insert(labels::AS.to_owned(), labels::AS_DIGEST.to_owned());
    given.records.push(digest_record);
    let [b, c, d] = ["b:1", "c:1", "d:1"].map(|name| pulled(&mut given, name));
    let (by_digest_of_c, id) = (by_digest(&c), d.config.descriptor.digest.to_string());
    // Content of another platform, which the runtime does not run.
    let other = record(&image("o:1", &["other"]), &[]).chains.remove(0);
    given.records.iter_mut().for_each(|image| image.chains.insert(0, other.clone()));
    given.cri.as_mut().unwrap().extend([
        (by_digest_of_c.clone(), c.config.descriptor.digest),
        (id.clone(), d.config.descriptor.digest),
        ("docker.io/library/b:2".to_owned(), b.config.descriptor.digest),
    ]);
    given.listed = vec![
        // Of ours without its name CRI lists the digests alone.
        listed(&given.image, &[], &[ours]),
        listed(&b, &["docker.io/library/b:1", "docker.io/library/b:2"], &[by_digest(&b)]),
        listed(&c, &[], std::slice::from_ref(&by_digest_of_c)),
        listed(&d, &[], &[]),
    ];
    let judged = given.judged();
    let seen: Vec<_> = judged.iter().map(|image| (image.name.as_str(), image.origin, image.layers)).collect();
    let expected = [
        (NAME, Origin::Disk, Some(2)),
        ("docker.io/library/b:1", Origin::Runtime, Some(1)),
        ("docker.io/library/b:2", Origin::Runtime, Some(1)),
        (by_digest_of_c.as_str(), Origin::Runtime, Some(1)),
        (id.as_str(), Origin::Runtime, Some(1)),
    ];
    assert_eq!(seen, expected);
    assert!(judged.iter().all(ImageStatus::is_warm), "{judged:?}");
}

#[test]
fn an_image_of_the_runtime_without_a_layer_or_its_content_is_not_warm() {
    let mut given = Given::attached();
    let [b, c] = ["b:1", "c:1"].map(|name| pulled(&mut given, name));
    given.listed =
        vec![listed(&b, &["docker.io/library/b:1"], &[]), listed(&c, &["docker.io/library/c:1"], &[])];
    given.snapshots.remove(&b.layers[0].chain_id.to_string());
    given.records.last_mut().unwrap().chains.clear();
    let reasons: Vec<_> = given.judged().into_iter().map(|image| image.reasons).collect();
    let expected = [
        vec![],
        vec![Cold::LayersMissing { layers: vec![b.layers[0].chain_id] }],
        vec![Cold::BlobsMissing { blobs: vec![c.target().descriptor.digest] }],
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn of_two_disks_with_an_image_the_one_counts_that_its_record_names() {
    let given = Given::attached();
    let newer = Digest::of(b"newer");
    let disk = |id| SeenDisk { id, place: place(id), content: given.content.clone(), hydration: None };
    for id in [given.disk, newer] {
        let mut records = given.records.clone();
        records[0].record.labels.insert(labels::DISK.to_owned(), id.to_string());
        let subjects = subjects(&[disk(given.disk), disk(newer)], &records, &given.snapshots, &[]);
        assert_eq!(subjects.iter().map(|subject| subject.disk).collect::<Vec<_>>(), [Some(id)]);
    }
}

#[test]
fn what_was_attached_from_a_disk_of_which_nothing_is_left_is_told_by_each_name() {
    let given = Given::attached();
    let mut by_digest = given.records[0].clone();
    by_digest.record.name = given.image.reference.at(given.image.target().descriptor.digest).to_string();
    by_digest.record.labels.insert(labels::PINNED.to_owned(), "no".to_owned());
    let records = [given.records[0].clone(), by_digest];
    let subjects = subjects(&[], &records, &BTreeMap::new(), &[]);
    let seen = Seen {
        disks: Vec::new(),
        subjects,
        snapshots: BTreeMap::new(),
        links: BTreeMap::new(),
        blobs: given.blobs,
        cri: None,
    };
    let judged: Vec<_> = judge(&seen).into_iter().map(|image| (image.origin, image.pinned)).collect();
    assert_eq!(judged, [(Origin::Disk, true), (Origin::Disk, false)]);
}
