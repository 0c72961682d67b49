//! Paths within a layer: cleaned, and resolved in the layer's own tree without ever leaving it.

use crate::tree::{Attributes, Directory, Inherits, Kind, MAX_NAME, NodeId, Tree};

/// As many symlinks as containerd follows for one path.
const MAX_LINKS_FOLLOWED: usize = 255;

const SET_GID: u16 = 0o2000;

/// Why a path cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// It holds `..`.
    #[error("the path leads upwards (..)")]
    Upwards,
    /// A component is longer than a file system can hold.
    #[error("a name in the path is longer than 255 bytes")]
    NameTooLong,
    /// It holds a zero byte.
    #[error("the path holds a zero byte")]
    Zero,
    /// A symlink of the same layer on the way leads above the layer's root.
    #[error("a symbolic link on the way leads out of the layer")]
    LinkOut,
    /// Symlinks that never end.
    #[error("too many symbolic links on the way")]
    LinkLoop,
    /// Something on the way is a file.
    #[error("a parent of the path is not a directory")]
    NotADirectory,
}

/// The components of an entry's path; empty for the layer's root.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, PathError> {
    if path.starts_with(b"/") {
        return Err(PathError::Absolute);
    }
    if path.contains(&0) {
        return Err(PathError::Zero);
    }
    let components: Vec<&[u8]> = split(path).collect();
    match components.iter().find(|name| **name == b".." || name.len() > MAX_NAME) {
        Some(name) if *name == b".." => Err(PathError::Upwards),
        Some(_) => Err(PathError::NameTooLong),
        None => Ok(components),
    }
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// What to do with a directory that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Create,
    Stop,
}

/// The directory that `names` lead to; made on the way where it is missing, with attributes to be inherited.
pub(super) fn make_directory(tree: &mut Tree, names: &[&[u8]]) -> Result<NodeId, PathError> {
    let found = walk(names, tree, Missing::Create, |tree, directory, name| {
        let kind = Kind::Directory(Directory { inherits: Inherits::Everything, ..Directory::default() });
        let attributes = made_in(&tree.node(directory).attributes);
        tree.insert(directory, name, attributes, kind)
    });
    found.map(|found| found.unwrap_or(NodeId::ROOT))
}

/// The attributes of a directory that mkdir makes in one with `parent`: 0755 root, but of the parent's group if that has set-gid.
pub(super) fn made_in(parent: &Attributes) -> Attributes {
    let gid = if parent.mode & SET_GID == 0 { 0 } else { parent.gid };
    Attributes { gid, ..Attributes::plain_directory() }
}

/// The directory that `names` lead to, if it is there.
pub(super) fn find_directory(tree: &Tree, names: &[&[u8]]) -> Result<Option<NodeId>, PathError> {
    walk(names, tree, Missing::Stop, |_, directory, _| directory)
}

/// Follows `names` from the root, symlinks included: an absolute target begins at the layer's root.
fn walk<T: std::borrow::Borrow<Tree>>(
    names: &[&[u8]],
    mut tree: T,
    missing: Missing,
    create: impl Fn(&mut T, NodeId, &[u8]) -> NodeId,
) -> Result<Option<NodeId>, PathError> {
    let mut pending: Vec<Vec<u8>> = names.iter().rev().map(|name| name.to_vec()).collect();
    let mut directories = vec![NodeId::ROOT];
    let mut followed = 0;
    while let Some(name) = pending.pop() {
        if name == b".." {
            directories.pop();
            if directories.is_empty() {
                return Err(PathError::LinkOut);
            }
            continue;
        }
        let directory = directories.last().copied().unwrap_or(NodeId::ROOT);
        let Some(child) = tree.borrow().child(directory, &name) else {
            if missing == Missing::Stop {
                return Ok(None);
            }
            directories.push(create(&mut tree, directory, &name));
            continue;
        };
        match &tree.borrow().node(child).kind {
            Kind::Directory(_) => directories.push(child),
            Kind::Symlink(target) => {
                followed += 1;
                if followed > MAX_LINKS_FOLLOWED {
                    return Err(PathError::LinkLoop);
                }
                if target.starts_with(b"/") {
                    directories.truncate(1);
                }
                if split(target).any(|name| name.len() > MAX_NAME) {
                    return Err(PathError::NameTooLong);
                }
                pending.extend(split(target).rev().map(<[u8]>::to_vec));
            }
            _ => return Err(PathError::NotADirectory),
        }
    }
    Ok(directories.last().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_links(links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(Attributes::plain_directory());
        for (name, target) in links {
            let kind = Kind::Symlink(target.as_bytes().into());
            tree.insert(NodeId::ROOT, name.as_bytes(), Attributes::default(), kind);
        }
        tree
    }

    #[test]
    fn a_path_stays_in_the_layer() {
        assert_eq!(components(b"./a//b/./c/"), Ok(vec![&b"a"[..], b"b", b"c"]));
        assert_eq!(components(b"./"), Ok(vec![]));
        assert_eq!(components(b"/etc"), Err(PathError::Absolute));
        assert_eq!(components(b"a/../b"), Err(PathError::Upwards));
        assert_eq!(components(&[b'a'; 256]), Err(PathError::NameTooLong));
        assert_eq!(components(b"a\0b"), Err(PathError::Zero));
    }

    #[test]
    fn links_of_the_layer_are_followed_inside_it() {
        let mut tree =
            with_links(&[("lib", "usr/lib"), ("abs", "/usr/lib"), ("out", "../etc"), ("loop", "loop")]);
        let usr_lib = make_directory(&mut tree, &[b"lib"]).unwrap();
        assert_eq!(make_directory(&mut tree, &[b"usr", b"lib"]), Ok(usr_lib));
        assert_eq!(make_directory(&mut tree, &[b"abs"]), Ok(usr_lib));
        assert_eq!(make_directory(&mut tree, &[b"out", b"x"]), Err(PathError::LinkOut));
        assert_eq!(make_directory(&mut tree, &[b"loop"]), Err(PathError::LinkLoop));
        assert_eq!(find_directory(&tree, &[b"absent"]), Ok(None));
    }
}
