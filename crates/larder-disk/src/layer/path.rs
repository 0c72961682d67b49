//! Paths within a layer: cleaned, and resolved in the layer's own tree without ever leaving it.

use std::borrow::Cow;

use crate::tree::{Attributes, Directory, Inherits, Kind, MAX_NAME, NodeId, Tree};

/// As many symlinks as containerd follows for one path.
const MAX_LINKS_FOLLOWED: usize = 255;
/// Names looked up for one path, links included: twice as many as the longest path holds, so that links that lead through each
/// other do not take long.
const MAX_LOOKUPS: usize = 4096;
/// Bytes of a directory's path within the layer; Linux takes no path of `PATH_MAX` (4096) bytes or more.
const MAX_PATH: usize = 4095;

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
    /// No system call would take it.
    #[error("the path is longer than 4095 bytes")]
    TooLong,
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
        None if components.iter().map(|name| name.len() + 1).sum::<usize>() > MAX_PATH + 1 => {
            Err(PathError::TooLong)
        }
        None => Ok(components),
    }
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}

/// What to do where a path cannot simply be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Missing directories are made; links that lead out are refused.
    Create,
    /// What is missing is not found; links that lead out are refused.
    Find,
    /// As the kernel sees it in a root directory: what leads out stays at the root.
    FindAtRoot,
}

/// The directory that `names` lead to; made on the way where it is missing, with attributes to be inherited.
pub(super) fn make_directory(tree: &mut Tree, names: &[&[u8]]) -> Result<NodeId, PathError> {
    let found = walk(names, &mut *tree, Mode::Create, |tree, directory, name| {
        let parent = tree.node(directory);
        let of_inherited_group = parent.directory().is_some_and(|it| it.inherits == Inherits::Everything);
        let attributes = made_in(&parent.attributes);
        let made = Directory { inherits: Inherits::Everything, of_inherited_group, ..Directory::default() };
        let kind = Kind::Directory(made);
        tree.insert(directory, name, attributes, kind)
    })?;
    only_directory(tree, found).map(|found| found.unwrap_or(NodeId::ROOT))
}

/// The attributes of a directory that mkdir makes in one with `parent`: 0755 root, but of the parent's group if that has set-gid.
pub(super) fn made_in(parent: &Attributes) -> Attributes {
    let gid = if parent.mode & SET_GID == 0 { 0 } else { parent.gid };
    Attributes { gid, ..Attributes::plain_directory() }
}

/// The directory that `names` lead to, if it is there.
pub(super) fn find_directory(tree: &Tree, names: &[&[u8]]) -> Result<Option<NodeId>, PathError> {
    only_directory(tree, walk(names, tree, Mode::Find, |_, directory, _| directory)?)
}

/// What `names` lead to, the last link followed too and none of them out of the root.
pub(super) fn find_at_root(tree: &Tree, names: &[&[u8]]) -> Result<Option<NodeId>, PathError> {
    walk(names, tree, Mode::FindAtRoot, |_, directory, _| directory)
}

fn only_directory(tree: &Tree, found: Option<NodeId>) -> Result<Option<NodeId>, PathError> {
    match found {
        Some(id) if tree.node(id).directory().is_none() => Err(PathError::NotADirectory),
        found => Ok(found),
    }
}

/// Follows `names` from the root, symlinks included: an absolute target begins at the layer's root.
fn walk<T: std::borrow::Borrow<Tree>>(
    names: &[&[u8]],
    mut tree: T,
    mode: Mode,
    create: impl Fn(&mut T, NodeId, &[u8]) -> NodeId,
) -> Result<Option<NodeId>, PathError> {
    let mut pending: Vec<Cow<'_, [u8]>> = names.iter().rev().map(|name| Cow::Borrowed(*name)).collect();
    let mut way = Way(Vec::new());
    let (mut followed, mut lookups) = (0, 0);
    while let Some(name) = pending.pop() {
        lookups += 1;
        let directory = way.end();
        let child = match tree.borrow().child(directory, &name) {
            Some(child) => child,
            None if mode == Mode::Create => create(&mut tree, directory, &name),
            None => return Ok(None),
        };
        match &tree.borrow().node(child).kind {
            Kind::Directory(_) => way.enter(child, &name)?,
            Kind::Symlink(target) => {
                followed += 1;
                if followed > MAX_LINKS_FOLLOWED || lookups > MAX_LOOKUPS {
                    return Err(PathError::LinkLoop);
                }
                let further = way.follow(target, mode)?;
                pending.extend(further.into_iter().rev().map(|name| Cow::Owned(name.to_vec())));
            }
            _ if pending.is_empty() => return Ok(Some(child)),
            _ => return Err(PathError::NotADirectory),
        }
    }
    Ok(Some(way.end()))
}

/// The directories from the root to where a walk is, each with the length of its path.
struct Way(Vec<(NodeId, usize)>);

impl Way {
    fn end(&self) -> NodeId {
        self.0.last().map_or(NodeId::ROOT, |(id, _)| *id)
    }

    fn enter(&mut self, directory: NodeId, name: &[u8]) -> Result<(), PathError> {
        let length = self.0.last().map_or(0, |(_, length)| length + 1) + name.len();
        if length > MAX_PATH {
            return Err(PathError::TooLong);
        }
        self.0.push((directory, length));
        Ok(())
    }

    /// Goes to where the target of a link here begins, and returns the names that lead on. As containerd does, `..` takes
    /// back the name before it, whatever that is.
    fn follow<'t>(&mut self, target: &'t [u8], mode: Mode) -> Result<Vec<&'t [u8]>, PathError> {
        if target.starts_with(b"/") {
            self.0.clear();
        }
        let mut names = Vec::new();
        for name in split(target) {
            match name {
                b".." if names.pop().is_some() || self.0.pop().is_some() || mode == Mode::FindAtRoot => {}
                b".." => return Err(PathError::LinkOut),
                name if name.len() > MAX_NAME => return Err(PathError::NameTooLong),
                name => names.push(name),
            }
        }
        Ok(names)
    }
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
        assert_eq!(find_at_root(&tree, &[b"out"]), Ok(None));
        assert_eq!(find_at_root(&tree, &[b"loop"]), Err(PathError::LinkLoop));
    }

    #[test]
    fn what_goes_up_in_a_links_target_takes_back_the_name_before_it() {
        let mut tree = with_links(&[("link", "missing/../real"), ("up", "deep/../../x")]);
        let real = make_directory(&mut tree, &[b"link"]).unwrap();
        assert_eq!(make_directory(&mut tree, &[b"real"]), Ok(real));
        assert_eq!(tree.child(NodeId::ROOT, b"missing"), None);
        assert_eq!(make_directory(&mut tree, &[b"up"]), Err(PathError::LinkOut));
    }

    #[test]
    fn a_file_is_found_but_is_no_parent() {
        let mut tree = with_links(&[("to-file", "file")]);
        let file = tree.insert(NodeId::ROOT, b"file", Attributes::default(), Kind::Fifo);
        assert_eq!(find_at_root(&tree, &[b"to-file"]), Ok(Some(file)));
        assert_eq!(find_directory(&tree, &[b"to-file"]), Err(PathError::NotADirectory));
        assert_eq!(find_at_root(&tree, &[b"file", b"x"]), Err(PathError::NotADirectory));
    }

    #[test]
    fn no_directory_is_deeper_than_a_path_can_say() {
        let deep = vec!["d"; 2000].join("/");
        let mut tree = with_links(&[("deep", &deep)]);
        assert!(make_directory(&mut tree, &[b"deep"]).is_ok());
        let more: Vec<&[u8]> = std::iter::once(&b"deep"[..]).chain([&b"e"[..]; 49]).collect();
        assert_eq!(make_directory(&mut tree, &more), Err(PathError::TooLong));
        assert!(make_directory(&mut tree, &more[..40]).is_ok());
        assert_eq!(components(&[b"ab/".repeat(1366), b"c".to_vec()].concat()), Err(PathError::TooLong));
        assert!(components(&b"ab/".repeat(1365)).is_ok());
    }

    #[test]
    fn links_through_links_end_soon() {
        let deep = vec![&b"d"[..]; 1500];
        let mut tree = Tree::new(Attributes::plain_directory());
        let bottom = make_directory(&mut tree, &deep).unwrap();
        for n in 0..5 {
            let target = format!("/{}n{}", "d/".repeat(1500), n + 1);
            let kind = Kind::Symlink(target.into_bytes().into());
            tree.insert(bottom, format!("n{n}").as_bytes(), Attributes::default(), kind);
        }
        assert!(find_directory(&tree, &[&deep[..], &[b"n4"]].concat()).is_ok());
        assert_eq!(find_directory(&tree, &[&deep[..], &[b"n0"]].concat()), Err(PathError::LinkLoop));
    }
}
