//! Which images may leave the node: those that the agent pulled, that nothing uses, and that have no name that others gave.

use std::collections::BTreeSet;

use larder_api::{ImageReason, Source};
use larder_core::ImageRef;

use super::record::{Failure, Purged};
use super::spec::Spec;
use super::state::State;
use crate::cri::ImageSeen;

/// An image that is to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) image: String,
    pub(super) token: String,
    /// As the runtime lists it.
    pub(super) exact: String,
    pub(super) is_ours: bool,
}

/// What is known of the names of images when some are to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Those of images that are to stay.
    pub(super) wanted: BTreeSet<String>,
    /// Those of images that leave and are ours.
    pub(super) leaving: BTreeSet<String>,
}

/// The images of `purges`, and the names that count while they leave.
pub(super) fn leaving(spec: &Spec, state: &State, purges: Vec<(String, String)>) -> (Vec<Leaving>, Names) {
    let of = |(image, token): (String, String)| {
        let exact = spec.entries.get(&image)?.name.as_ref().ok()?.exact.clone();
        let source = state.records.get(&image)?.source;
        Some(Leaving { image, token, exact, is_ours: source == Some(Source::Pulled) })
    };
    let leaving: Vec<_> = purges.into_iter().filter_map(of).collect();
    let ours = leaving.iter().filter(|leaving| leaving.is_ours);
    let staying = spec.entries.values().filter(|entry| entry.wanted.purge.is_none());
    let names = Names {
        wanted: staying.filter_map(|entry| Some(entry.name.as_ref().ok()?.exact.clone())).collect(),
        leaving: ours.map(|leaving| leaving.exact.clone()).collect(),
    };
    (leaving, names)
}

/// What is to be done about one image, where the runtime has `images` and containers use `used`: none is to remove it.
pub(super) fn judge(
    leaving: &Leaving,
    names: &Names,
    images: &[ImageSeen],
    used: &BTreeSet<String>,
) -> Option<Purged> {
    let Some(image) = images.iter().find(|image| all_names(image).any(|name| *name == leaving.exact)) else {
        return Some(Purged::Removed);
    };
    let kept = |reason, message: String| Some(Purged::Kept(Failure { reason, message }));
    if !leaving.is_ours {
        return kept(ImageReason::NotOurs, "it was on the node before".to_owned());
    }
    if all_names(image).chain([&image.id]).any(|name| used.contains(name)) {
        return kept(ImageReason::InUse, "a container uses it".to_owned());
    }
    // With one name of an image containerd removes all.
    if let Some(name) = all_names(image).find(|name| names.wanted.contains(*name)) {
        return kept(ImageReason::InUse, format!("it is {name}, too, which is wanted"));
    }
    if let Some(name) = foreign_name(image, names) {
        return kept(ImageReason::NotOurs, format!("it is {name}, too"));
    }
    None
}

/// A name that others gave the image: a tag that is not ours, or the digest of a repository of which no name is.
fn foreign_name<'a>(image: &'a ImageSeen, names: &Names) -> Option<&'a String> {
    let repository = |name: &str| name.parse::<ImageRef>().ok().map(|reference| reference.name());
    let ours: BTreeSet<_> = names.leaving.iter().filter_map(|name| repository(name)).collect();
    let is_foreign = |digest: &str| repository(digest).is_none_or(|repository| !ours.contains(&repository));
    let tag = image.tags.iter().find(|tag| !names.leaving.contains(*tag));
    tag.or_else(|| image.digests.iter().find(|digest| is_foreign(digest)))
}

fn all_names(image: &ImageSeen) -> impl Iterator<Item = &String> {
    image.tags.iter().chain(&image.digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:1d";

    fn image(tags: &[&str], digests: &[&str]) -> ImageSeen {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        ImageSeen { id: ID.to_owned(), tags: owned(tags), digests: owned(digests), size: 1, pinned: false }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// Its name, the image, whether it is ours, what is used, what is wanted, and why it is kept.
    type Case<'a> = (&'a str, ImageSeen, bool, &'a [&'a str], &'a [&'a str], Option<ImageReason>);

    #[test]
    fn an_image_leaves_only_if_it_is_ours_alone_and_nothing_uses_it() {
        let digest = format!("r.io/a@sha256:{}", "a".repeat(64));
        let elsewhere = format!("r.io/b@sha256:{}", "a".repeat(64));
        let plain = image(&["r.io/a:1"], &[&digest]);
        let kept = |reason: ImageReason| Some(reason);
        let table: [Case<'_>; 10] = [
            ("ours, unused", plain.clone(), true, &[], &[], None),
            ("not ours", plain.clone(), false, &[], &[], kept(ImageReason::NotOurs)),
            ("used by id", plain.clone(), true, &[ID], &[], kept(ImageReason::InUse)),
            ("used by name", plain.clone(), true, &["r.io/a:1"], &[], kept(ImageReason::InUse)),
            ("used by digest", plain.clone(), true, &[&digest], &[], kept(ImageReason::InUse)),
            ("others are used", plain.clone(), true, &["r.io/b:1"], &[], None),
            ("its digest is wanted", plain, true, &[], &[&digest], kept(ImageReason::InUse)),
            (
                "another tag",
                image(&["r.io/a:1", "r.io/a:2"], &[]),
                true,
                &[],
                &[],
                kept(ImageReason::NotOurs),
            ),
            (
                "another tag is wanted",
                image(&["r.io/a:1", "r.io/b:1"], &[]),
                true,
                &[],
                &["r.io/b:1"],
                kept(ImageReason::InUse),
            ),
            (
                "another repository",
                image(&["r.io/a:1"], &[&digest, &elsewhere]),
                true,
                &[],
                &[],
                kept(ImageReason::NotOurs),
            ),
        ];
        for (name, image, is_ours, used, wanted, expected) in table {
            let exact = "r.io/a:1".to_owned();
            let leaving = Leaving { image: exact.clone(), token: "1".to_owned(), exact, is_ours };
            let names = Names { wanted: set(wanted), leaving: set(&["r.io/a:1"]) };
            let reason = match judge(&leaving, &names, &[image], &set(used)) {
                None => None,
                Some(Purged::Kept(why)) => Some(why.reason),
                Some(Purged::Removed) => panic!("{name}"),
            };
            assert_eq!(reason, expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_gone_and_two_names_that_both_leave_go_together() {
        let both = Names { wanted: set(&[]), leaving: set(&["r.io/a:1", "r.io/b:1"]) };
        let leaving = |name: &str| Leaving {
            image: name.to_owned(),
            token: "1".to_owned(),
            exact: name.to_owned(),
            is_ours: true,
        };
        let images = [image(&["r.io/a:1", "r.io/b:1"], &[])];
        assert_eq!(judge(&leaving("r.io/a:1"), &both, &images, &set(&[])), None);
        assert_eq!(judge(&leaving("r.io/c:1"), &both, &images, &set(&[])), Some(Purged::Removed));
    }
}
