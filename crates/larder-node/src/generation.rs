//! Which disk each linked layer is to be read from, decided from what was seen: the latest disk that has the layer.
//!
//! A layer's link is the truth; the labels on its snapshot follow it. So a run that is killed between the two leaves nothing
//! that the next one cannot put right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use larder_core::{ChainId, Digest};

use crate::containerd::Snapshot;
use crate::labels;
use crate::overlay::Link;

/// A disk at its place.
#[derive(Clone, Debug)]
pub(crate) struct ReadyDisk {
    pub(crate) disk: Digest,
    pub(crate) place: PathBuf,
    pub(crate) generation: u64,
    /// Where each layer is, relative to the place.
    pub(crate) layers: BTreeMap<ChainId, PathBuf>,
}

/// A layer's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relabel {
    pub(crate) name: String,
    pub(crate) disk: Digest,
    pub(crate) directory: PathBuf,
}

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Links, and where they are to lead.
    pub(crate) redirect: Vec<Link>,
    /// Snapshots whose labels name another disk than their link.
    pub(crate) relabel: Vec<Relabel>,
    /// Snapshots that have content of their own now.
    pub(crate) unlabel: Vec<String>,
}

/// Decides. `place` says where a disk is mounted, or would be.
pub(crate) fn plan(
    snapshots: &[Snapshot],
    links: &[Link],
    disks: &[ReadyDisk],
    place: impl Fn(Digest) -> PathBuf,
) -> Moves {
    let labelled: Vec<_> = snapshots.iter().filter_map(labelled).collect();
    let target = |disk: Digest, directory: &PathBuf| place(disk).join(directory);
    let mut layers: BTreeMap<PathBuf, ChainId> =
        labelled.iter().map(|(layer, disk, directory)| (target(*disk, directory), *layer)).collect();
    for disk in disks {
        layers.extend(disk.layers.iter().map(|(layer, directory)| (disk.place.join(directory), *layer)));
    }
    let best = |layer: &ChainId| {
        let having = disks.iter().filter(|disk| disk.layers.contains_key(layer));
        having.max_by_key(|disk| (disk.generation, disk.disk))
    };
    let redirected = |link: &Link| {
        let layer = layers.get(&link.target)?;
        let disk = best(layer)?;
        let target = disk.place.join(&disk.layers[layer]);
        (target != link.target).then(|| Link { path: link.path.clone(), target })
    };
    let redirect: Vec<_> = links.iter().filter_map(redirected).collect();
    let linked: BTreeSet<&ChainId> = links.iter().filter_map(|link| layers.get(&link.target)).collect();
    // A link that is not below this state directory: what labels name may well be there.
    let elsewhere = links.iter().any(|link| !layers.contains_key(&link.target));
    let mut moves = Moves { redirect, ..Moves::default() };
    for (layer, disk, directory) in labelled {
        let name = layer.to_string();
        match best(&layer) {
            _ if !linked.contains(&layer) => moves.unlabel.extend((!elsewhere).then_some(name)),
            Some(best) if best.disk != disk || best.layers[&layer] != directory => {
                let directory = best.layers[&layer].clone();
                moves.relabel.push(Relabel { name, disk: best.disk, directory });
            }
            _ => {}
        }
    }
    moves
}

/// The layer, and the disk and directory that its labels name.
fn labelled(snapshot: &Snapshot) -> Option<(ChainId, Digest, PathBuf)> {
    let disk = snapshot.labels.get(labels::DISK)?.parse().ok()?;
    let directory = PathBuf::from(snapshot.labels.get(labels::DIRECTORY)?);
    Some((snapshot.name.parse().ok()?, disk, directory))
}

#[cfg(test)]
mod tests {
    use larder_core::DiffId;

    use super::*;
    use crate::containerd::SnapshotKind;

    fn layer(text: &str) -> ChainId {
        ChainId::of(None, DiffId(Digest::of(text.as_bytes())))
    }

    fn place(disk: Digest) -> PathBuf {
        PathBuf::from("/disks").join(disk.hex())
    }

    fn disk(name: &str, generation: u64, layers: &[&str]) -> ReadyDisk {
        let disk = Digest::of(name.as_bytes());
        let numbered = layers.iter().enumerate();
        let layers = numbered.map(|(n, text)| (layer(text), format!("snapshots/{name}{n}/fs").into()));
        ReadyDisk { disk, place: place(disk), generation, layers: layers.collect() }
    }

    fn snapshot(text: &str, disk: &ReadyDisk) -> Snapshot {
        let directory = disk.layers[&layer(text)].display().to_string();
        let labels =
            [(labels::DISK.to_owned(), disk.disk.to_string()), (labels::DIRECTORY.to_owned(), directory)];
        let (name, labels) = (layer(text).to_string(), labels.into());
        Snapshot { name, parent: None, kind: SnapshotKind::Committed, labels }
    }

    fn link(path: &str, text: &str, disk: &ReadyDisk) -> Link {
        Link { path: path.into(), target: disk.place.join(&disk.layers[&layer(text)]) }
    }

    #[test]
    fn a_new_generation_takes_all_links_that_it_has_and_labels_follow() {
        let (old, new) = (disk("a", 1, &["x", "y"]), disk("b", 2, &["x"]));
        let snapshots = [snapshot("x", &old), snapshot("y", &old)];
        // The second link of x is another namespace's.
        let links = [link("1", "x", &old), link("2", "y", &old), link("3", "x", &old)];
        let moves = plan(&snapshots, &links, &[old.clone(), new.clone()], place);
        assert_eq!(moves.redirect, [link("1", "x", &new), link("3", "x", &new)]);
        let directory = new.layers[&layer("x")].clone();
        assert_eq!(moves.relabel, [Relabel { name: layer("x").to_string(), disk: new.disk, directory }]);
        assert_eq!(moves.unlabel, [""; 0]);
    }

    #[test]
    fn a_run_that_was_killed_between_link_and_label_is_completed() {
        let (old, new) = (disk("a", 1, &["x"]), disk("b", 2, &["x"]));
        let links = [link("1", "x", &new)];
        let moves = plan(&[snapshot("x", &old)], &links, &[old, new.clone()], place);
        assert_eq!((moves.redirect.len(), moves.relabel[0].disk, moves.unlabel.len()), (0, new.disk, 0));
        assert_eq!(plan(&[snapshot("x", &new)], &links, &[new], place), Moves::default());
    }

    #[test]
    fn labels_follow_also_where_only_the_disk_or_only_the_directory_is_another() {
        let (old, mut new) = (disk("a", 1, &["x"]), disk("b", 2, &["x"]));
        new.layers.clone_from(&old.layers);
        let directory = new.layers[&layer("x")].clone();
        let mut astray = snapshot("x", &new);
        astray.labels.insert(labels::DIRECTORY.to_owned(), "snapshots/9/fs".to_owned());
        let wanted = [Relabel { name: layer("x").to_string(), disk: new.disk, directory }];
        for snapshot in [snapshot("x", &old), astray] {
            let moves = plan(&[snapshot], &[link("1", "x", &new)], &[old.clone(), new.clone()], place);
            assert_eq!((moves.redirect, moves.relabel), (vec![], wanted.to_vec()));
        }
    }

    #[test]
    fn an_older_disk_takes_nothing_while_the_newer_is_there_and_all_when_it_is_away() {
        let (old, new) = (disk("a", 1, &["x"]), disk("b", 2, &["x"]));
        let (snapshots, links) = ([snapshot("x", &new)], [link("1", "x", &new)]);
        assert_eq!(plan(&snapshots, &links, &[old.clone(), new], place), Moves::default());
        let moves = plan(&snapshots, &links, std::slice::from_ref(&old), place);
        assert_eq!(moves.redirect, [link("1", "x", &old)]);
    }

    #[test]
    fn a_layer_of_no_disk_keeps_its_broken_link() {
        let old = disk("a", 1, &["x"]);
        let moves = plan(&[snapshot("x", &old)], &[link("1", "x", &old)], &[], place);
        assert_eq!(moves, Moves::default());
    }

    #[test]
    fn a_layer_that_was_copied_is_no_link_any_more() {
        let old = disk("a", 1, &["x"]);
        let moves = plan(&[snapshot("x", &old)], &[], &[old], place);
        assert_eq!(moves.unlabel, [layer("x").to_string()]);
    }

    #[test]
    fn another_state_directorys_links_keep_their_labels() {
        let old = disk("a", 1, &["x"]);
        let link = Link { path: "1".into(), target: "/other/disks/00/snapshots/0/fs".into() };
        assert_eq!(plan(&[snapshot("x", &old)], &[link], &[], place), Moves::default());
    }
}
