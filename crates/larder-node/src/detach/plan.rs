//! What may go and what must stay, decided from what was seen.
//!
//! An image stays as it is while a container runs on it, and while one of its links, which no image that stays keeps, carries
//! something of somebody else's: an image, a container of it, a snapshot. The users are named.

mod users;

use std::collections::{BTreeSet, HashMap};

use larder_core::{Digest, ImageRef};

use super::report::Use;
use super::seen::{Seen, SeenImage};
use crate::labels;
use users::{User, users};

/// What was asked to go.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Only images of this disk.
    pub(super) disk: Option<Digest>,
    /// Only images of these names; all where there is none.
    pub(super) names: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) releases: Vec<Release>,
    /// Names, and what uses them.
    pub(super) in_use: Vec<(String, Vec<Use>)>,
    /// Names that were asked for and that Larder has not attached.
    pub(super) not_attached: Vec<String>,
}

/// An image that may go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) name: String,
    /// The records to delete, in this order: the last one is how a run that comes after an interrupted one finds the image.
    pub(super) records: Vec<String>,
    /// The links that are to be gone then.
    pub(super) layers: BTreeSet<String>,
}

/// Decides.
pub(super) fn plan(seen: &Seen, selection: &Selection) -> Plan {
    let everybody = users(seen);
    let Chosen { asked, others, not_attached } = choose(seen, selection);
    let (idle, running) = split(asked, |image| runs_on(image, &others, &everybody));
    let mut kept = others;
    kept.extend(running.iter().map(|(image, _)| *image));
    let going = going_links(seen, &idle, &kept);
    let (free, carrying) = split(idle, |image| stands_on(image, &going, &everybody));
    kept.extend(carrying.iter().map(|(image, _)| *image));

    let in_use = running.into_iter().chain(carrying).map(|(image, by)| (image.record.name.clone(), by));
    Plan { releases: releases(seen, &free, &kept), in_use: in_use.collect(), not_attached }
}

/// The links that would go, and that other people's things stand on.
pub(super) fn shared(seen: &Seen, selection: &Selection) -> BTreeSet<String> {
    let everybody = users(seen);
    let Chosen { asked, others, .. } = choose(seen, selection);
    let (idle, running) = split(asked, |image| runs_on(image, &others, &everybody));
    let kept: Vec<_> = others.into_iter().chain(running.into_iter().map(|(image, _)| image)).collect();
    let going = going_links(seen, &idle, &kept);
    let standing = everybody.iter().flat_map(|user| &user.layers);
    standing.filter(|layer| going.contains(*layer)).cloned().collect()
}

/// The attached images: those that are asked for, and the others.
struct Chosen<'a> {
    asked: Vec<&'a SeenImage>,
    others: Vec<&'a SeenImage>,
    not_attached: Vec<String>,
}

fn choose<'a>(seen: &'a Seen, selection: &Selection) -> Chosen<'a> {
    let (asked, others): (Vec<_>, Vec<_>) =
        attached_images(seen).into_iter().partition(|image| is_asked(image, selection));
    let answered = |name: &&String| asked.iter().any(|image| answers_to(image, name));
    let not_attached = selection.names.iter().filter(|name| !answered(name)).cloned().collect();
    Chosen { asked, others, not_attached }
}

/// An image and what uses it.
type Busy<'a> = (&'a SeenImage, Vec<Use>);

/// Those that nothing uses, and those that something does.
fn split(
    images: Vec<&SeenImage>,
    uses: impl Fn(&SeenImage) -> BTreeSet<Use>,
) -> (Vec<&SeenImage>, Vec<Busy<'_>>) {
    let (mut free, mut busy) = (Vec::new(), Vec::new());
    for image in images {
        match uses(image) {
            by if by.is_empty() => free.push(image),
            by => busy.push((image, by.into_iter().collect())),
        }
    }
    (free, busy)
}

/// The records that stand for an attached image: those that somebody asked for, and digests whose name is gone.
fn attached_images(seen: &Seen) -> Vec<&SeenImage> {
    let ours = || seen.images.iter().filter(|image| image.disk().is_some());
    let is_name = |image: &SeenImage| {
        image.record.labels.get(labels::AS).is_none_or(|value| value != labels::AS_DIGEST)
    };
    let of_names: BTreeSet<_> = ours().filter(|image| is_name(image)).flat_map(digest_names).collect();
    ours().filter(|image| is_name(image) || !of_names.contains(&image.record.name)).collect()
}

/// The digest records that go with an image's name.
fn digest_names(image: &SeenImage) -> Vec<String> {
    let Ok(reference) = image.record.name.parse::<ImageRef>() else { return Vec::new() };
    let manifests = image.chains.iter().map(|chain| chain.manifest);
    let digests = image.record.target.parse().ok().into_iter().chain(manifests);
    digests.map(|digest| reference.at(digest).to_string()).collect()
}

fn answers_to(image: &SeenImage, name: &str) -> bool {
    image.record.name == name || digest_names(image).iter().any(|digest| digest == name)
}

fn is_asked(image: &SeenImage, selection: &Selection) -> bool {
    let Selection { disk, names } = selection;
    let named = names.is_empty() || names.iter().any(|name| answers_to(image, name));
    named && disk.is_none_or(|disk| image.disk() == Some(disk))
}

/// The links that the `leaving` images have and no `staying` one.
fn going_links(seen: &Seen, leaving: &[&SeenImage], staying: &[&SeenImage]) -> BTreeSet<String> {
    let is_link = |name: &String| {
        seen.snapshots
            .iter()
            .any(|snapshot| snapshot.name == *name && snapshot.labels.contains_key(labels::DISK))
    };
    let kept: BTreeSet<_> = staying.iter().flat_map(|image| image.layers()).collect();
    let leaving = leaving.iter().flat_map(|image| image.layers());
    leaving.filter(|name| !kept.contains(name) && is_link(name)).collect()
}

/// Who runs on the whole of `image`, unless an image that stays is the same under another name.
fn runs_on(image: &SeenImage, staying: &[&SeenImage], everybody: &[User]) -> BTreeSet<Use> {
    let elsewhere: BTreeSet<_> = staying.iter().flat_map(|other| other.tops()).collect();
    let tops: BTreeSet<_> = image.tops().filter(|top| !elsewhere.contains(top)).collect();
    let runs = |user: &&User| user.runs_on.as_ref().is_some_and(|top| tops.contains(top));
    everybody.iter().filter(runs).map(|user| user.r#use.clone()).collect()
}

/// Who stands on a link of `image` that would go.
fn stands_on(image: &SeenImage, going: &BTreeSet<String>, everybody: &[User]) -> BTreeSet<Use> {
    let links: BTreeSet<_> = image.layers().filter(|name| going.contains(name)).collect();
    let stands = |user: &&User| !user.layers.is_disjoint(&links);
    everybody.iter().filter(stands).map(|user| user.r#use.clone()).collect()
}

fn releases(seen: &Seen, free: &[&SeenImage], kept: &[&SeenImage]) -> Vec<Release> {
    let needed: BTreeSet<_> = kept
        .iter()
        .flat_map(|image| digest_names(image).into_iter().chain([image.record.name.clone()]))
        .collect();
    let deletable = |name: &String| {
        !needed.contains(name)
            && seen.images.iter().any(|image| image.record.name == *name && image.disk().is_some())
    };
    let own = |image: &SeenImage| -> Vec<String> {
        let names = [image.record.name.clone()].into_iter().chain(digest_names(image));
        names.filter(deletable).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let deleted: BTreeSet<_> = free.iter().flat_map(|image| own(image)).collect();
    let going = going_links(seen, free, kept);
    let release = |image: &&SeenImage| Release {
        name: image.record.name.clone(),
        records: last(&image.record.name, own(image).into_iter().chain(id_records(seen, image, &deleted))),
        layers: image.layers().filter(|name| going.contains(name)).collect(),
    };
    free.iter().map(release).collect()
}

fn last(name: &str, records: impl Iterator<Item = String>) -> Vec<String> {
    let (mut records, name): (Vec<_>, Vec<_>) = records.partition(|record| record != name);
    records.extend(name);
    records
}

/// What holds links to `disk`: other people's things, and attached images.
pub(crate) fn holders(seen: &Seen, disk: Digest) -> Vec<Use> {
    let links = links_to(seen, disk);
    let attached =
        attached_images(seen).into_iter().filter(|image| image.layers().any(|name| links.contains(&name)));
    let attached = attached.map(|image| Use::Image(image.record.name.clone()));
    attached.chain(users_of(seen, &links)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The layers that are links to `disk`.
pub(crate) fn links_to(seen: &Seen, disk: Digest) -> BTreeSet<String> {
    let leads = |labels: &HashMap<String, String>| labels.get(labels::DISK) == Some(&disk.to_string());
    let links = seen.snapshots.iter().filter(|snapshot| leads(&snapshot.labels));
    links.map(|snapshot| snapshot.name.clone()).collect()
}

/// Other people's things that stand on any of `layers`.
pub(crate) fn users_of(seen: &Seen, layers: &BTreeSet<String>) -> BTreeSet<Use> {
    let others = users(seen).into_iter().filter(|user| !user.layers.is_disjoint(layers));
    others.map(|user| user.r#use).collect()
}

/// Digest records of `repositories` that went with a name which points elsewhere now; before them, for only they lead to these,
/// CRI's records of what only they keep.
pub(crate) fn orphans(seen: &Seen, repositories: &BTreeSet<String>) -> Vec<String> {
    let is_meant = |name: &str| name.rsplit_once('@').is_some_and(|(of, _)| repositories.contains(of));
    let orphaned: Vec<_> = attached_images(seen)
        .into_iter()
        .filter(|image| image.record.labels.get(labels::AS).is_some_and(|value| value == labels::AS_DIGEST))
        .filter(|image| is_meant(&image.record.name))
        .collect();
    let records: BTreeSet<_> = orphaned.iter().map(|image| image.record.name.clone()).collect();
    let ids: BTreeSet<_> = orphaned.iter().flat_map(|image| id_records(seen, image, &records)).collect();
    ids.into_iter().chain(records).collect()
}

/// CRI's own record of the image, unless another record that stays is of the same image.
pub(crate) fn id_records(seen: &Seen, image: &SeenImage, deleted: &BTreeSet<String>) -> Vec<String> {
    let stays = |config: Digest| {
        let others = seen.images.iter().filter(|other| !other.is_id() && other.has_config(config));
        others.into_iter().any(|other| !deleted.contains(&other.record.name))
    };
    let configs = image.chains.iter().map(|chain| chain.config).filter(|config| !stays(*config));
    let exists = |name: &String| seen.images.iter().any(|image| image.record.name == *name);
    configs.map(|config| config.to_string()).filter(exists).collect()
}

#[cfg(test)]
mod tests;
