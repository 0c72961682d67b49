//! A file tree in memory, without the files' content: what a layer or the whole disk will be.
//!
//! It knows neither tar nor ext4. Hard links are several names of one node; a node that lost its last name stays in the
//! vector and is never written.

use std::collections::BTreeMap;

/// A component of a path; never empty, `.`, `..`, nor longer than [`MAX_NAME`].
pub(crate) type Name = Box<[u8]>;

/// The longest name that Linux file systems hold, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// ext4's limit on the names of one file (`EXT4_LINK_MAX`).
pub(crate) const MAX_LINKS: u32 = 65_000;

/// The index of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) const ROOT: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    fn shifted(self, by: u32) -> Self {
        Self(self.0 + by)
    }
}

/// A moment: seconds since 1970 and nanoseconds within the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// Extended attributes by full name (`security.capability`); boxed, because most nodes have none.
pub(crate) type Xattrs = Option<Box<BTreeMap<Vec<u8>, Vec<u8>>>>;

/// What every kind of node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission, set-id and sticky bits: the low 12 bits of `st_mode`.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

impl Attributes {
    /// A directory that nobody described: 0755 root, at the epoch.
    pub(crate) fn plain_directory() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }

    pub(crate) fn set_xattr(&mut self, name: &[u8], value: &[u8]) {
        self.xattrs.get_or_insert_default().insert(name.to_owned(), value.to_owned());
    }
}

/// A run of blocks of a file: `length` blocks from `physical` on hold the content from `logical` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) logical: u32,
    pub(crate) length: u16,
    pub(crate) physical: u64,
}

/// A file's bytes, which are on the disk already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size: u64,
    /// In logical order; gaps are holes.
    pub(crate) extents: Box<[Extent]>,
    /// BLAKE3.
    pub(crate) hash: [u8; 32],
    /// MD5, where the disk is to have the reference's checksums.
    pub(crate) md5: Option<Box<[u8; 16]>>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory(Directory),
    File(Content),
    Symlink(Box<[u8]>),
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// A directory's names, and what of its attributes the layer did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) entries: BTreeMap<Name, NodeId>,
    pub(crate) inherits: Inherits,
    /// Extended attributes that the layer removed after it had put something there: those below no longer shine through.
    pub(crate) removed: Vec<Name>,
    /// Made while the directory that holds it was as the layers below have it: their set-gid gave it a group.
    pub(crate) of_inherited_group: bool,
}

/// What a directory takes from the nearest layer below that has it as a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Inherits {
    /// The layer described the directory before it put anything there.
    #[default]
    Nothing,
    /// The layer put something there first, and described the directory later: what is below shines through in its xattrs.
    Xattrs,
    /// The layer never described it.
    Everything,
}

/// A node and how many names it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) attributes: Attributes,
    pub(crate) kind: Kind,
    /// Names of the node; not counting `.` and `..`.
    pub(crate) links: u32,
}

impl Node {
    pub(crate) fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

/// A tree of nodes; the root is a directory.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    pub(crate) fn new(root: Attributes) -> Self {
        let kind = Kind::Directory(Directory::default());
        Self { nodes: vec![Node { attributes: root, kind, links: 1 }] }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// How many nodes there are, nameless ones included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node called `name` in `directory`; none too where `directory` is no directory.
    pub(crate) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(directory).directory()?.entries.get(name).copied()
    }

    /// Puts a new node into `directory`, in the place of whatever had the name.
    #[expect(clippy::cast_possible_truncation, reason = "a tar of 2^32 entries is over 2 TB of headers")]
    pub(crate) fn insert(
        &mut self,
        directory: NodeId,
        name: &[u8],
        attributes: Attributes,
        kind: Kind,
    ) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { attributes, kind, links: 0 });
        self.link(directory, name, id);
        id
    }

    /// Gives `node` one more name.
    pub(crate) fn link(&mut self, directory: NodeId, name: &[u8], node: NodeId) {
        self.node_mut(node).links += 1;
        let entries = self.node_mut(directory).directory_mut().map(|directory| &mut directory.entries);
        if let Some(replaced) = entries.and_then(|entries| entries.insert(name.into(), node)) {
            self.unlink(replaced);
        }
    }

    /// Takes `name`, and everything below it, out of `directory`.
    pub(crate) fn remove(&mut self, directory: NodeId, name: &[u8]) {
        let entries = self.node_mut(directory).directory_mut().map(|directory| &mut directory.entries);
        if let Some(removed) = entries.and_then(|entries| entries.remove(name)) {
            self.unlink(removed);
        }
    }

    fn unlink(&mut self, node: NodeId) {
        let mut pending = vec![node];
        while let Some(id) = pending.pop() {
            let node = self.node_mut(id);
            node.links -= 1;
            if let Kind::Directory(directory) = &mut node.kind {
                pending.extend(std::mem::take(&mut directory.entries).into_values());
            }
        }
    }

    /// Adds the directory `path` (components separated by `/`) and its parents where they are missing.
    pub(crate) fn directory_at(&mut self, path: &str) -> NodeId {
        path.split('/').filter(|name| !name.is_empty()).fold(NodeId::ROOT, |parent, name| {
            self.child(parent, name.as_bytes()).unwrap_or_else(|| {
                let kind = Kind::Directory(Directory::default());
                self.insert(parent, name.as_bytes(), Attributes::plain_directory(), kind)
            })
        })
    }

    /// Moves `other` into this tree: its root becomes `name` in `directory`.
    #[expect(clippy::cast_possible_truncation, reason = "as for insert: far below 2^32 nodes")]
    pub(crate) fn graft(&mut self, directory: NodeId, name: &[u8], mut other: Tree) {
        let shift = self.nodes.len() as u32;
        for node in &mut other.nodes {
            if let Some(directory) = node.directory_mut() {
                directory.entries.values_mut().for_each(|id| *id = id.shifted(shift));
            }
        }
        // The root's own link is counted anew by `link`.
        other.nodes[0].links = 0;
        self.nodes.append(&mut other.nodes);
        self.link(directory, name, NodeId::ROOT.shifted(shift));
    }

    /// Every node that has a name, once, with its first path: directories before what they hold, names in byte order.
    pub(crate) fn walk(&self) -> Walk<'_> {
        Walk {
            tree: self,
            stack: vec![(NodeId::ROOT, None)],
            path: Vec::new(),
            seen: vec![false; self.nodes.len()],
        }
    }
}

/// A node to visit, the length of its parent's path, and its name; the root has none.
type Pending<'a> = (NodeId, Option<(usize, &'a [u8])>);

/// A depth-first walk; see [`Tree::walk`].
pub(crate) struct Walk<'a> {
    tree: &'a Tree,
    /// What is still to visit.
    stack: Vec<Pending<'a>>,
    path: Vec<u8>,
    seen: Vec<bool>,
}

/// A node met on a walk.
pub(crate) struct Visit<'a> {
    pub(crate) id: NodeId,
    pub(crate) node: &'a Node,
    /// Relative to the tree's root, which has the empty path.
    pub(crate) path: Vec<u8>,
    /// Whether the node was met before, under another name.
    pub(crate) again: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Visit<'a>;

    fn next(&mut self) -> Option<Visit<'a>> {
        let (id, place) = self.stack.pop()?;
        if let Some((parent, name)) = place {
            self.path.truncate(parent);
            if parent > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
        }
        let node = self.tree.node(id);
        if let Some(directory) = node.directory() {
            let length = self.path.len();
            self.stack
                .extend(directory.entries.iter().rev().map(|(name, id)| (*id, Some((length, &**name)))));
        }
        let again = std::mem::replace(&mut self.seen[id.index()], true);
        Some(Visit { id, node, path: self.path.clone(), again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree) -> Vec<String> {
        tree.walk().map(|visit| String::from_utf8(visit.path).unwrap()).collect()
    }

    #[test]
    fn a_removed_directory_takes_its_names_with_it() {
        let mut tree = Tree::new(Attributes::plain_directory());
        let a = tree.directory_at("a/b");
        let file = tree.insert(a, b"f", Attributes::default(), Kind::Fifo);
        tree.link(NodeId::ROOT, b"kept", file);
        assert_eq!(paths(&tree), ["", "a", "a/b", "a/b/f", "kept"]);
        tree.remove(NodeId::ROOT, b"a");
        assert_eq!(paths(&tree), ["", "kept"]);
        assert_eq!(tree.node(file).links, 1);
        assert_eq!(tree.node(a).links, 0);
    }

    #[test]
    fn a_grafted_tree_keeps_its_shape() {
        let mut layer = Tree::new(Attributes::plain_directory());
        let dir = layer.directory_at("etc");
        let file = layer.insert(dir, b"x", Attributes::default(), Kind::Fifo);
        layer.link(dir, b"y", file);
        let mut tree = Tree::new(Attributes::plain_directory());
        let place = tree.directory_at("snapshots/1");
        tree.graft(place, b"fs", layer);
        assert_eq!(
            paths(&tree),
            [
                "",
                "snapshots",
                "snapshots/1",
                "snapshots/1/fs",
                "snapshots/1/fs/etc",
                "snapshots/1/fs/etc/x",
                "snapshots/1/fs/etc/y"
            ]
        );
        assert_eq!(tree.walk().filter(|visit| visit.again).count(), 1);
    }
}
