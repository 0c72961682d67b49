//! The image records that an image needs, and what to do where a record of that name is there.

use std::collections::{BTreeMap, HashMap};

use larder_core::{Descriptor, Digest, Image, ImageRef};

use super::report::AttachImageError;
use crate::containerd::ImageRecord;
use crate::labels;

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) target: Descriptor,
    pub(super) labels: HashMap<String, String>,
}

impl From<Record> for ImageRecord {
    fn from(record: Record) -> Self {
        let Record { name, target, labels } = record;
        Self { name, target: target.digest.to_string(), media_type: target.media_type, labels }
    }
}

/// What to do about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is missing.
    Create(Record),
    /// It is ours, and differs.
    Update(Record),
}

/// The name under which pods find the image: CRI drops the tag of a reference that has a digest too.
pub(crate) fn record_name(reference: &ImageRef) -> String {
    reference.digest().map_or_else(|| reference.to_string(), |digest| reference.at(digest).to_string())
}

/// The reference's own record, then one for each digest by which it may be named.
fn wanted_records(image: &Image, disk: Digest, pin: bool) -> Vec<Record> {
    let pinned = pin.then(|| (labels::PINNED.to_owned(), "pinned".to_owned()));
    let record = |name: String, target: &Descriptor, r#as: &str| Record {
        name,
        target: target.clone(),
        labels: [(labels::DISK.to_owned(), disk.to_string()), (labels::AS.to_owned(), r#as.to_owned())]
            .into_iter()
            .chain(pinned.clone())
            .collect(),
    };
    let target = &image.target().descriptor;
    let mut records = vec![record(record_name(&image.reference), target, labels::AS_REFERENCE)];
    for descriptor in [target, &image.manifest.descriptor] {
        let name = image.reference.at(descriptor.digest).to_string();
        if records.iter().all(|record| record.name != name) {
            records.push(record(name, descriptor, labels::AS_DIGEST));
        }
    }
    records
}

/// The names of all records of an image.
pub(super) fn names(image: &Image) -> Vec<String> {
    wanted_records(image, Digest::of(b""), false).into_iter().map(|record| record.name).collect()
}

/// What to do so that all records of `image` are there. A record of somebody else that points to the same is left to them.
pub(super) fn plan(
    image: &Image,
    disk: Digest,
    pin: bool,
    existing: &BTreeMap<String, ImageRecord>,
) -> Result<Vec<Step>, AttachImageError> {
    let steps = wanted_records(image, disk, pin).into_iter().map(|wanted| step(wanted, existing));
    steps.filter_map(Result::transpose).collect()
}

fn step(
    mut wanted: Record,
    existing: &BTreeMap<String, ImageRecord>,
) -> Result<Option<Step>, AttachImageError> {
    let Some(found) = existing.get(&wanted.name) else { return Ok(Some(Step::Create(wanted))) };
    let same_target = found.target == wanted.target.digest.to_string();
    if !found.labels.contains_key(labels::DISK) {
        return if same_target {
            Ok(None)
        } else {
            let ImageRecord { name, target: theirs, .. } = found.clone();
            Err(AttachImageError::NameTaken { name, theirs, ours: wanted.target.digest })
        };
    }
    // A name that somebody asked for stays one, also where it goes with another image too.
    if found.labels.get(labels::AS).is_some_and(|value| value == labels::AS_REFERENCE) {
        wanted.labels.insert(labels::AS.to_owned(), labels::AS_REFERENCE.to_owned());
    }
    // containerd takes a label away when its value is empty.
    if !wanted.labels.contains_key(labels::PINNED) && found.labels.contains_key(labels::PINNED) {
        wanted.labels.insert(labels::PINNED.to_owned(), String::new());
    }
    let same_labels = wanted.labels.iter().all(|(key, value)| found.labels.get(key) == Some(value));
    Ok((!same_target || !same_labels).then_some(Step::Update(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::image;

    const DISK: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn disk() -> Digest {
        DISK.parse().unwrap()
    }

    fn written(steps: &[Step]) -> BTreeMap<String, ImageRecord> {
        let record = |step: &Step| {
            let (Step::Create(record) | Step::Update(record)) = step.clone();
            (record.name.clone(), ImageRecord::from(record))
        };
        steps.iter().map(record).collect()
    }

    #[test]
    fn an_image_is_found_by_tag_by_index_and_by_manifest() {
        let image = image("a:1", &["x"]);
        let steps = plan(&image, disk(), true, &BTreeMap::new()).unwrap();
        let (index, manifest) = (image.target().descriptor.digest, image.manifest.descriptor.digest);
        let seen: BTreeMap<_, _> =
            written(&steps).into_values().map(|record| (record.name, record.target)).collect();
        let repository = "docker.io/library/a";
        let wanted = [
            (format!("{repository}:1"), index.to_string()),
            (format!("{repository}@{index}"), index.to_string()),
            (format!("{repository}@{manifest}"), manifest.to_string()),
        ];
        assert_eq!(seen, wanted.into());
        assert!(steps.iter().all(|step| matches!(step, Step::Create(_))));
    }

    #[test]
    fn what_is_there_is_not_written_again() {
        let image = image("a:1", &["x"]);
        let records = written(&plan(&image, disk(), true, &BTreeMap::new()).unwrap());
        assert_eq!(plan(&image, disk(), true, &records).unwrap(), []);
    }

    #[test]
    fn a_pin_comes_and_goes() {
        let image = image("a:1", &["x"]);
        let unpinned = plan(&image, disk(), false, &BTreeMap::new()).unwrap();
        let records = written(&unpinned);
        assert!(records.values().all(|record| !record.labels.contains_key(labels::PINNED)));
        assert_eq!(plan(&image, disk(), true, &records).unwrap().len(), 3);
        let pinned = written(&plan(&image, disk(), true, &BTreeMap::new()).unwrap());
        let steps = plan(&image, disk(), false, &pinned).unwrap();
        assert!(
            steps
                .iter()
                .all(|step| matches!(step, Step::Update(record) if record.labels[labels::PINNED].is_empty()))
        );
    }

    #[test]
    fn somebody_elses_record_is_left_or_refused() {
        let image = image("a:1", &["x"]);
        let mut records = written(&plan(&image, disk(), true, &BTreeMap::new()).unwrap());
        for record in records.values_mut() {
            record.labels.clear();
        }
        assert_eq!(plan(&image, disk(), true, &records).unwrap(), []);
        records.get_mut("docker.io/library/a:1").unwrap().target = "sha512:ff".to_owned();
        let error = plan(&image, disk(), true, &records).unwrap_err().to_string();
        assert!(
            error.contains("sha512:ff") && error.contains(&image.target().descriptor.digest.to_string()),
            "{error}"
        );
    }

    #[test]
    fn our_own_record_follows_the_new_disk() {
        let (old, new) = (image("a:1", &["x"]), image("a:1", &["y"]));
        let records = written(&plan(&old, Digest::of(b"old"), true, &BTreeMap::new()).unwrap());
        let steps = plan(&new, disk(), true, &records).unwrap();
        let [Step::Update(name), Step::Create(_), Step::Create(_)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((&name.target, &name.labels[labels::DISK]), (&new.target().descriptor, &DISK.to_owned()));
        let same = plan(&old, disk(), true, &records).unwrap();
        assert!(same.len() == 3 && same.iter().all(|step| matches!(step, Step::Update(_))), "{same:?}");
    }

    #[test]
    fn a_digest_that_was_asked_for_stays_asked_for() {
        let tagged = image("a:1", &["x"]);
        let mut by_digest = tagged.clone();
        by_digest.reference = tagged.reference.at(tagged.target().descriptor.digest);
        let name = record_name(&by_digest.reference);
        let mut records = written(&plan(&by_digest, disk(), true, &BTreeMap::new()).unwrap());
        assert_eq!(records[&name].labels[labels::AS], labels::AS_REFERENCE);
        assert!(matches!(&plan(&tagged, disk(), true, &records).unwrap()[..], [Step::Create(_)]));
        records = written(&plan(&tagged, disk(), true, &BTreeMap::new()).unwrap());
        assert!(
            matches!(&plan(&by_digest, disk(), true, &records).unwrap()[..], [Step::Update(record)] if record.name == name)
        );
    }

    #[test]
    fn a_tag_beside_a_digest_is_dropped_as_cri_drops_it() {
        let reference: ImageRef = format!("a:1@{DISK}").parse().unwrap();
        assert_eq!(record_name(&reference), format!("docker.io/library/a@{DISK}"));
    }
}
