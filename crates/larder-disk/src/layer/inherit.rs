//! Directories that a layer uses without describing them take their attributes from the layers below.

use super::path;
use crate::tree::{Attributes, Inherits, NodeId, Tree};

/// Fills in what `tree` inherits from `below`, nearest layer first, all of them filled in already.
pub(crate) fn inherit(tree: &mut Tree, below: &[&Tree]) {
    let inheriting: Vec<(NodeId, Vec<u8>, Inherits)> = tree
        .walk()
        .filter_map(|visit| Some((visit.id, visit.path, visit.node.directory()?.inherits)))
        .filter(|(_, _, inherits)| *inherits != Inherits::Nothing)
        .collect();
    // Directories come before what they hold.
    for (id, path, inherits) in inheriting {
        let Some(lower) = nearest(&path, below) else { continue };
        if inherits == Inherits::Everything {
            let attributes = &mut tree.node_mut(id).attributes;
            (attributes.mode, attributes.uid, attributes.gid) = (lower.mode, lower.uid, lower.gid);
            attributes.mtime = lower.mtime;
            pass_on_group(tree, id);
        }
        inherit_xattrs(&mut tree.node_mut(id).attributes, lower);
    }
}

/// mkdir gives a directory the group of the one that it is made in, where that has set-gid.
fn pass_on_group(tree: &mut Tree, id: NodeId) {
    let gid = path::made_in(&tree.node(id).attributes).gid;
    let children: Vec<NodeId> =
        tree.node(id).directory().into_iter().flat_map(|d| d.entries.values().copied()).collect();
    for child in children {
        let node = tree.node_mut(child);
        if node.directory().is_some_and(|directory| directory.inherits == Inherits::Everything) {
            node.attributes.gid = gid;
        }
    }
}

/// Adds the lower directory's extended attributes to those that the layer gave itself; overlayfs's own stay where they are.
fn inherit_xattrs(attributes: &mut Attributes, lower: &Attributes) {
    for (name, value) in lower.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        let known = attributes.xattrs.as_ref().is_some_and(|xattrs| xattrs.contains_key(name));
        if !known && !name.starts_with(b"trusted.") {
            attributes.set_xattr(name, value);
        }
    }
}

/// The directory of the nearest layer that has anything at `path`; none where that is no directory.
fn nearest<'a>(path: &[u8], below: &[&'a Tree]) -> Option<&'a Attributes> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let (name, parents) = names.split_last()?;
    for tree in below {
        // What leads nowhere in a lower layer counts as absent there, except a file in a directory's place.
        let child = match path::find_directory(tree, parents) {
            Ok(Some(parent)) => tree.child(parent, name),
            Ok(None) => None,
            Err(_) => return None,
        };
        let Some(child) = child else { continue };
        let directory = match tree.node(child).directory() {
            Some(_) => child,
            // A symlink to a directory is followed within its layer.
            None => path::find_directory(tree, &names).ok().flatten()?,
        };
        return Some(&tree.node(directory).attributes);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Directory, Kind};

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
    fn a_file_below_hides_what_is_deeper() {
        let file = layer(|tree| {
            tree.insert(NodeId::ROOT, b"tmp", Attributes::default(), Kind::Fifo);
        });
        let mut tree = implied(&[b"tmp"]);
        inherit(&mut tree, &[&file, &described(b"tmp", 0o1777)]);
        assert_eq!(attributes(&tree, b"tmp"), Attributes::plain_directory());
    }
}
