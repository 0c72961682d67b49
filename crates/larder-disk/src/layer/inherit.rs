//! Directories that a layer uses without describing them take their attributes from the layers below.

use super::path;
use crate::tree::{Attributes, Inherits, NodeId, Tree};

/// Fills in what `tree` inherits from `below`, nearest layer first, all of them filled in already.
pub(crate) fn inherit(tree: &mut Tree, below: &[&Tree]) {
    let inheriting: Vec<(NodeId, Vec<u8>, Inherits)> = tree
        .walk()
        .filter_map(|visit| Some((visit.id, visit.node.directory()?.inherits, visit.path)))
        .filter(|(_, inherits, _)| *inherits != Inherits::Nothing)
        .map(|(id, inherits, path)| (id, path, inherits))
        .collect();
    for (id, path, inherits) in inheriting {
        let Some(lower) = nearest(&path, below) else { continue };
        let xattrs = lower.xattrs.iter().flat_map(|xattrs| xattrs.iter());
        let copied: Vec<_> = xattrs.filter(|(name, _)| !name.starts_with(b"trusted.")).collect();
        let attributes = &mut tree.node_mut(id).attributes;
        if inherits == Inherits::Everything {
            (attributes.mode, attributes.uid, attributes.gid) = (lower.mode, lower.uid, lower.gid);
            attributes.mtime = lower.mtime;
        }
        for (name, value) in copied {
            let known = attributes.xattrs.as_ref().is_some_and(|xattrs| xattrs.contains_key(name));
            if !known {
                attributes.set_xattr(name, value);
            }
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
    fn a_file_below_hides_what_is_deeper() {
        let file = layer(|tree| {
            tree.insert(NodeId::ROOT, b"tmp", Attributes::default(), Kind::Fifo);
        });
        let mut tree = implied(&[b"tmp"]);
        inherit(&mut tree, &[&file, &described(b"tmp", 0o1777)]);
        assert_eq!(attributes(&tree, b"tmp"), Attributes::plain_directory());
    }
}
