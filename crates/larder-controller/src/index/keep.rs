//! Objects of one kind by name. What is older than what is known is passed over: a watch lags behind the answers to writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Change;

/// Ends that are remembered: as many as the answers that may still be on their way when a watch tells of an end, and some more.
const REMEMBERED: usize = 256;

/// What is kept of an object of type `Object`.
pub trait Entry: PartialEq + Debug {
    /// The object as the API server has it.
    type Object;
    /// Its name.
    type Key: Ord + Clone + Debug;

    /// The name of an object.
    fn key(meta: &ObjectMeta) -> Self::Key;
    /// The metadata of an object.
    fn meta(object: &Self::Object) -> &ObjectMeta;
    /// What is to be kept.
    fn of(object: Self::Object) -> Self;
}

/// All entries of a kind.
#[derive(Debug)]
pub struct Keep<K, E> {
    entries: BTreeMap<K, (Version, E)>,
    listed: Option<BTreeSet<K>>,
    complete: bool,
    /// UIDs of objects that have ended, the latest last: the answer to a write may come after the end of what was written.
    ended: VecDeque<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    /// Of etcd, and so comparable within a kind; none where a server has another form.
    resource: Option<u64>,
}

impl Version {
    fn of(meta: &ObjectMeta) -> Self {
        let resource = meta.resource_version.as_deref().and_then(|version| version.parse().ok());
        Self { uid: meta.uid.clone(), resource }
    }

    fn is_older_than(&self, known: &Self) -> bool {
        self.uid == known.uid && self.resource.zip(known.resource).is_some_and(|(this, known)| this < known)
    }
}

impl<K, E> Default for Keep<K, E> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), listed: None, complete: false, ended: VecDeque::new() }
    }
}

impl<E: Entry> Keep<E::Key, E> {
    /// Takes a change; whether what is kept is another now.
    pub(super) fn take(&mut self, change: Change<E::Object>) -> bool {
        match change {
            Change::Applied(object) => self.apply(object),
            Change::Deleted(object) => self.delete(E::meta(&object)),
            Change::Begin => {
                self.listed = Some(BTreeSet::new());
                false
            }
            Change::Listed(object) => {
                let key = E::key(E::meta(&object));
                self.listed.get_or_insert_default().insert(key);
                self.apply(object)
            }
            Change::Complete => self.complete(),
        }
    }

    fn apply(&mut self, object: E::Object) -> bool {
        let (key, version) = (E::key(E::meta(&object)), Version::of(E::meta(&object)));
        if version.uid.as_ref().is_some_and(|uid| self.ended.contains(uid)) {
            return false;
        }
        let known = self.entries.get(&key);
        if known.is_some_and(|(known, _)| version.is_older_than(known)) {
            return false;
        }
        let entry = E::of(object);
        let changed = known.is_none_or(|(_, known)| *known != entry);
        self.entries.insert(key, (version, entry));
        changed
    }

    fn delete(&mut self, meta: &ObjectMeta) -> bool {
        let key = E::key(meta);
        self.remember(meta);
        // The end of an object that has a successor of the same name by now.
        if self.entries.get(&key).is_some_and(|(known, _)| known.uid != meta.uid) {
            return false;
        }
        self.entries.remove(&key).is_some()
    }

    fn remember(&mut self, meta: &ObjectMeta) {
        self.ended.extend(meta.uid.clone());
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    fn complete(&mut self) -> bool {
        let listed = self.listed.take().unwrap_or_default();
        let before = self.entries.len();
        self.entries.retain(|key, _| listed.contains(key));
        let first = !std::mem::replace(&mut self.complete, true);
        first || before != self.entries.len()
    }

    /// Whether all were listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The entry of this name.
    pub(crate) fn get(&self, key: &E::Key) -> Option<&E> {
        self.entries.get(key).map(|(_, entry)| entry)
    }

    /// All, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&E::Key, &E)> {
        self.entries.iter().map(|(key, (_, entry))| (key, entry))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use larder_api::NodeImageSet;

    use super::super::Set;
    use super::*;

    fn set(name: &str, uid: &str, version: u64, images: usize) -> NodeImageSet {
        let mut set = NodeImageSet::new(name, larder_api::NodeImageSetSpec::default());
        set.metadata.uid = Some(uid.to_owned());
        set.metadata.resource_version = Some(version.to_string());
        set.metadata.generation = Some(1);
        set.spec.images = vec![larder_api::ImageWanted::default(); images];
        set
    }

    #[test]
    fn what_a_watch_says_late_does_not_undo_what_is_known() {
        let mut sets: Keep<String, Set> = Keep::default();
        assert!(sets.take(Change::Applied(set("a", "1", 10, 1))));
        assert!(!sets.take(Change::Applied(set("a", "1", 9, 2))), "older");
        assert!(!sets.take(Change::Applied(set("a", "1", 11, 1))), "the same");
        assert!(sets.take(Change::Applied(set("a", "2", 3, 2))), "another of the same name");
        assert!(!sets.take(Change::Deleted(set("a", "1", 12, 1))), "the end of its predecessor");
        assert_eq!(sets.get(&"a".to_owned()).unwrap().spec.images.len(), 2);
        assert!(sets.take(Change::Deleted(set("a", "2", 13, 1))));
        assert_eq!(sets.len(), 0);
        assert!(!sets.take(Change::Applied(set("a", "2", 14, 1))), "an answer that came after the end");
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let mut sets: Keep<String, Set> = Keep::default();
        for change in
            [Change::Begin, Change::Listed(set("a", "1", 1, 0)), Change::Listed(set("b", "2", 1, 0))]
        {
            sets.take(change);
        }
        assert!(!sets.is_complete());
        assert!(sets.take(Change::Complete));
        assert!(sets.is_complete());
        sets.take(Change::Begin);
        sets.take(Change::Listed(set("b", "2", 1, 0)));
        assert_eq!(sets.len(), 2, "nothing goes before the list is complete");
        assert!(sets.take(Change::Complete));
        assert_eq!(sets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
