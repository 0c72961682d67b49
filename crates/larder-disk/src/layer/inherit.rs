//! Directories that a layer uses without describing them take their attributes from the layers below.

use std::rc::Rc;

use super::path;
use crate::tree::{Attributes, Directory, Inherits, Name, NodeId, Tree};

/// Fills in what `tree` inherits from `below`, nearest layer first, all of them filled in already.
///
/// All trees are walked together, so that each lower directory is looked up once for each that inherits from it.
pub(crate) fn inherit(tree: &mut Tree, below: &[&Tree]) {
    let roots: Below<'_> = below.iter().map(|tree| Lower { tree, directory: NodeId::ROOT }).collect();
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut pending = children(tree, NodeId::ROOT, 0, &roots);
    while let Some(Pending { id, name, depth, parents }) = pending.pop() {
        names.truncate(depth);
        names.push(name);
        let below: Below<'_> = descend(&names, &parents);
        if let Some(nearest) = below.first() {
            take(tree, id, &nearest.tree.node(nearest.directory).attributes);
        }
        pending.extend(children(tree, id, depth + 1, &below));
    }
}

/// A directory of a lower layer that is at the place in question.
#[derive(Clone, Copy)]
struct Lower<'a> {
    tree: &'a Tree,
    directory: NodeId,
}

/// Nearest layer first; shared by all that a directory holds.
type Below<'a> = Rc<[Lower<'a>]>;

/// A directory to fill in.
struct Pending<'a> {
    id: NodeId,
    name: Vec<u8>,
    depth: usize,
    parents: Below<'a>,
}

fn children<'a>(tree: &Tree, id: NodeId, depth: usize, below: &Below<'a>) -> Vec<Pending<'a>> {
    let entries = tree.node(id).directory().into_iter().flat_map(|directory| &directory.entries);
    entries
        .filter(|(_, child)| tree.node(**child).directory().is_some())
        .map(|(name, child)| Pending { id: *child, name: name.to_vec(), depth, parents: Rc::clone(below) })
        .collect()
}

/// The directories called `names`, the last of which is within `parents`. Something else in its place hides the layers below.
fn descend<'a>(names: &[Vec<u8>], parents: &[Lower<'a>]) -> Below<'a> {
    let mut found = Vec::new();
    for Lower { tree, directory } in parents {
        let Some(child) = names.last().and_then(|name| tree.child(*directory, name)) else { continue };
        if tree.node(child).directory().is_some() {
            found.push(Lower { tree, directory: child });
            continue;
        }
        // A symlink is followed within its layer; one that leads nowhere counts as nothing.
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        match path::find_at_root(tree, &names) {
            Ok(Some(target)) if tree.node(target).directory().is_some() => {
                found.push(Lower { tree, directory: target });
            }
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => break,
        }
    }
    found.into()
}

fn take(tree: &mut Tree, id: NodeId, lower: &Attributes) {
    let node = tree.node_mut(id);
    match node.directory().map(|directory| directory.inherits) {
        Some(Inherits::Everything) => {
            let attributes = &mut node.attributes;
            (attributes.mode, attributes.uid, attributes.gid) = (lower.mode, lower.uid, lower.gid);
            attributes.mtime = lower.mtime;
            inherit_xattrs(attributes, lower, &[]);
        }
        Some(Inherits::Xattrs) => {
            let removed = node.directory_mut().map(|directory| std::mem::take(&mut directory.removed));
            inherit_xattrs(&mut node.attributes, lower, &removed.unwrap_or_default());
        }
        Some(Inherits::Nothing) | None => return,
    }
    pass_on_group(tree, id, lower);
}

/// mkdir gives a directory the group of the one that it is made in, where that has set-gid: as it was then, which is as it is below.
fn pass_on_group(tree: &mut Tree, id: NodeId, lower: &Attributes) {
    let gid = path::made_in(lower).gid;
    let children: Vec<NodeId> =
        tree.node(id).directory().into_iter().flat_map(|d| d.entries.values().copied()).collect();
    for child in children {
        let node = tree.node_mut(child);
        let is_of_it = |directory: &Directory| {
            directory.of_inherited_group && directory.inherits == Inherits::Everything
        };
        if node.directory().is_some_and(is_of_it) {
            node.attributes.gid = gid;
        }
    }
}

/// Adds the lower directory's extended attributes to those that the layer gave itself, without those that it removed; overlayfs's
/// own stay where they are.
fn inherit_xattrs(attributes: &mut Attributes, lower: &Attributes, removed: &[Name]) {
    for (name, value) in lower.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        let known = attributes.xattrs.as_ref().is_some_and(|xattrs| xattrs.contains_key(name))
            || removed.iter().any(|removed| **removed == **name);
        if !known && !name.starts_with(b"trusted.") {
            attributes.set_xattr(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Kind;

    fn layer(build: impl FnOnce(&mut Tree)) -> Tree {
        let mut tree = Tree::new(Attributes::plain_directory());
        build(&mut tree);
        tree
    }

    fn implied(names: &[&[u8]]) -> Tree {
        layer(|tree| {
            path::make_directory(tree, names).unwrap();
        })
    }

    fn described(name: &[u8], mode: u16) -> Tree {
        layer(|tree| {
            let mut attributes = Attributes { mode, uid: 1000, gid: 1000, ..Attributes::default() };
            attributes.set_xattr(b"user.k", b"v");
            attributes.set_xattr(b"trusted.overlay.opaque", b"y");
            tree.insert(NodeId::ROOT, name, attributes, Kind::Directory(Directory::default()));
        })
    }

    fn attributes(tree: &Tree, name: &[u8]) -> Attributes {
        tree.node(tree.child(NodeId::ROOT, name).unwrap()).attributes.clone()
    }

    #[test]
    fn the_nearest_directory_below_gives_mode_owner_and_xattrs() {
        let mut tree = implied(&[b"tmp"]);
        inherit(&mut tree, &[&implied(&[b"other"]), &described(b"tmp", 0o1777), &described(b"tmp", 0o700)]);
        let inherited = attributes(&tree, b"tmp");
        assert_eq!((inherited.mode, inherited.uid), (0o1777, 1000));
        let xattrs = inherited.xattrs.unwrap();
        assert_eq!(xattrs.keys().collect::<Vec<_>>(), [b"user.k"]);
    }

    #[test]
    fn a_new_directory_in_a_set_gid_one_takes_its_group() {
        let mut tree = implied(&[b"shared", b"new", b"deeper"]);
        inherit(&mut tree, &[&described(b"shared", 0o2775)]);
        let shared = tree.child(NodeId::ROOT, b"shared").unwrap();
        let new = tree.child(shared, b"new").unwrap();
        let deeper = tree.child(new, b"deeper").unwrap();
        let gids = [shared, new, deeper].map(|id| tree.node(id).attributes.gid);
        assert_eq!((gids, tree.node(new).attributes.mode), ([1000, 1000, 0], 0o755));
    }

    #[test]
    fn a_directory_described_later_gave_its_group_before() {
        let mut tree = implied(&[b"shared", b"before"]);
        let shared = tree.child(NodeId::ROOT, b"shared").unwrap();
        let node = tree.node_mut(shared);
        node.attributes = Attributes { mode: 0o2755, gid: 7, ..Attributes::default() };
        node.directory_mut().unwrap().inherits = Inherits::Xattrs;
        let after = path::make_directory(&mut tree, &[b"shared", b"after"]).unwrap();
        inherit(&mut tree, &[&described(b"shared", 0o2775)]);
        let before = tree.child(shared, b"before").unwrap();
        assert_eq!([before, after].map(|id| tree.node(id).attributes.gid), [1000, 7]);
    }

    #[test]
    fn what_a_later_description_removed_does_not_come_back() {
        let mut tree = implied(&[b"tmp"]);
        let id = tree.child(NodeId::ROOT, b"tmp").unwrap();
        let directory = tree.node_mut(id).directory_mut().unwrap();
        directory.inherits = Inherits::Xattrs;
        directory.removed = vec![b"user.k"[..].into()];
        inherit(&mut tree, &[&described(b"tmp", 0o1777)]);
        assert_eq!(attributes(&tree, b"tmp"), Attributes::plain_directory());
    }

    #[test]
    fn a_file_below_hides_what_is_deeper() {
        let file = layer(|tree| {
            tree.insert(NodeId::ROOT, b"tmp", Attributes::default(), Kind::Fifo);
        });
        let mut tree = implied(&[b"tmp"]);
        inherit(&mut tree, &[&file, &described(b"tmp", 0o1777)]);
        assert_eq!(attributes(&tree, b"tmp"), Attributes::plain_directory());
    }

    #[test]
    fn a_link_below_is_followed_within_its_layer_and_counts_for_nothing_if_it_dangles() {
        let link = |target: &[u8]| {
            let mut tree = described(b"real", 0o700);
            tree.insert(NodeId::ROOT, b"tmp", Attributes::default(), Kind::Symlink(target.into()));
            tree
        };
        let mode = |below: &[&Tree]| {
            let mut tree = implied(&[b"tmp"]);
            inherit(&mut tree, below);
            attributes(&tree, b"tmp").mode
        };
        let lowest = described(b"tmp", 0o1777);
        assert_eq!(mode(&[&link(b"real"), &lowest]), 0o700);
        assert_eq!(mode(&[&link(b"../../real"), &lowest]), 0o700);
        assert_eq!(mode(&[&link(b"absent"), &lowest]), 0o1777);
        assert_eq!(mode(&[&link(b"tmp"), &lowest]), 0o755);
    }

    #[test]
    fn deep_directories_on_deep_layers_take_no_time() {
        let names: Vec<&[u8]> = vec![b"d"; 2000];
        let layers: Vec<Tree> = (0..100).map(|_| implied(&names)).collect();
        let below: Vec<&Tree> = layers.iter().collect();
        let started = std::time::Instant::now();
        inherit(&mut implied(&names), &below);
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }
}
