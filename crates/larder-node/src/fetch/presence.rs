//! Whether an image is there already, judged from what the runtime says of it.

use super::list::Wanted;
use crate::cri::ImageSeen;

/// What a tag that moves is called.
const MOVING: &str = "latest";

/// Whether the image has to be pulled even where the runtime has one of that name: nothing pins `latest`.
pub(crate) fn is_moving(wanted: &Wanted) -> bool {
    wanted.reference.digest().is_none() && wanted.reference.tag() == Some(MOVING)
}

/// The name that a runtime lists the wanted image by: a tag, or a digest, beside which tags do not count.
pub(crate) fn exact_name(wanted: &Wanted) -> String {
    let reference = &wanted.reference;
    reference.digest().map_or_else(|| reference.to_string(), |digest| reference.at(digest).to_string())
}

/// Whether `seen` is the wanted image by exact reference or digest. A runtime also answers to prefixes of image IDs, so that
/// an answer alone says nothing.
pub(super) fn confirms(seen: &ImageSeen, wanted: &Wanted) -> bool {
    let exact = exact_name(wanted);
    let names = if wanted.reference.digest().is_some() { &seen.digests } else { &seen.tags };
    names.iter().any(|name| *name == exact || (wanted.is_short() && completes(name, &exact)))
}

/// Whether a runtime made `name` of the short name that Docker completes to `exact`, with a registry of its own choice.
fn completes(name: &str, exact: &str) -> bool {
    let without_registry = |name: &str| name.split_once('/').map(|(_, rest)| rest.to_owned());
    let (Some(theirs), Some(docker)) = (without_registry(name), without_registry(exact)) else {
        return false;
    };
    theirs == docker || docker.strip_prefix("library/").is_some_and(|short| theirs == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    fn seen(tags: &[&str], digests: &[String]) -> ImageSeen {
        let tags = tags.iter().map(ToString::to_string).collect();
        ImageSeen { id: String::new(), tags, digests: digests.to_vec(), size: 1, pinned: false }
    }

    #[test]
    fn only_the_exact_reference_or_digest_confirms() {
        let (a, b) = (digest("a"), digest("b"));
        let at = |name: &str, digest: &str| format!("{name}@{digest}");
        let redis = seen(&["docker.io/library/redis:7"], &[at("docker.io/library/redis", &a)]);
        let quay = seen(&["quay.io/redis:7"], &[at("quay.io/redis", &a)]);
        let nameless = seen(&[], &[]);
        let table = [
            ("redis:7", &redis, true),
            ("redis:70", &redis, false),
            ("redis", &redis, false),
            ("docker.io/library/redis:7", &redis, true),
            ("h.io/redis:7", &redis, false),
            (&at("redis", &a), &redis, true),
            (&at("redis:6", &a), &redis, true),
            (&at("redis", &b), &redis, false),
            (&at("h.io/redis", &a), &redis, false),
            // A runtime that searches other registries for short names.
            ("redis:7", &quay, true),
            (&at("redis", &a), &quay, true),
            ("docker.io/library/redis:7", &quay, false),
            // An image ID that begins with the name.
            ("abc:1", &nameless, false),
        ];
        for (typed, seen, expected) in table {
            assert_eq!(confirms(seen, &Wanted::parse(typed).unwrap()), expected, "{typed} in {seen:?}");
        }
    }

    #[test]
    fn latest_moves_unless_a_digest_pins_it() {
        let pinned = format!("redis:latest@{}", digest("a"));
        for (typed, moving) in [("redis", true), ("redis:latest", true), ("redis:7", false), (&pinned, false)]
        {
            assert_eq!(is_moving(&Wanted::parse(typed).unwrap()), moving, "{typed}");
        }
    }
}
