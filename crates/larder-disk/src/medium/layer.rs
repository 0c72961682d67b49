//! A layer read back: as the same tree that it was written from, so that the same listing can be made of it; or only measured.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use md5::{Digest as _, Md5};

use super::{MAX_PATH, Medium, MediumError, Place, Window};
use crate::tree::{Attributes, Kind, NodeId, Tree};

/// Bytes of holes in one layer, as many as `build` allows: every one of them is hashed.
const MAX_HOLES: u64 = 256 << 30;
/// What cannot be read in one layer; the rest is of no more use.
const MAX_FAILURES: usize = 100;

/// Which checksums of the files' contents are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) blake3: bool,
    pub(crate) md5: bool,
}

/// A layer that was read.
pub(crate) struct LayerRead {
    pub(crate) tree: Tree,
    /// What could not be read, and is not in the tree.
    pub(crate) failures: Vec<LayerFailure>,
    /// Nodes, and bytes of content that were read.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// A part of a layer that cannot be read.
#[derive(Debug)]
pub(crate) struct LayerFailure {
    /// From the layer's root.
    pub(crate) path: Vec<u8>,
    pub(crate) error: MediumError,
}

/// How large a layer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Files, directories and links.
    pub(crate) files: u64,
    /// On the disk, without the inodes themselves.
    pub(crate) bytes: u64,
}

/// Something still to read: where it is, in which directory, and the path of that.
struct Pending {
    place: Place,
    parent: NodeId,
    name: Box<[u8]>,
    path: Rc<[u8]>,
}

impl Medium {
    /// Reads the layer whose root is at `place`, with all contents.
    pub(crate) fn layer(&self, place: &Place, sums: Sums) -> Result<LayerRead, MediumError> {
        let root = self.stat(place)?;
        if !matches!(root.kind, Kind::Directory(_)) {
            return Err(MediumError::Kind("directory"));
        }
        let attributes = Attributes { xattrs: self.xattrs(place)?, ..root.attributes };
        let mut read = Reading {
            medium: self,
            sums,
            layer: LayerRead { tree: Tree::new(attributes), failures: Vec::new(), files: 1, bytes: 0 },
            known: HashMap::from([(root.id, NodeId::ROOT)]),
            pending: Vec::new(),
            unread: Vec::new(),
            holes: 0,
        };
        read.open(place, NodeId::ROOT, &[])?;
        while let Some(next) = read.pending.pop()
            && read.layer.failures.len() < MAX_FAILURES
        {
            let path = joined(&next.path, &next.name);
            if let Err(error) = read.node(&next, &path) {
                read.layer.failures.push(LayerFailure { path, error });
            }
        }
        read.contents();
        Ok(read.layer)
    }

    /// Counts what is at and below `place`, without reading contents.
    pub(crate) fn measure(&self, place: Place) -> Result<Measure, MediumError> {
        let mut measure = Measure::default();
        let mut known = HashSet::new();
        let mut pending = vec![place];
        while let Some(place) = pending.pop() {
            let stat = self.stat(&place)?;
            if !known.insert(stat.id) {
                continue;
            }
            measure.files += 1;
            measure.bytes = measure.bytes.saturating_add(stat.occupied);
            if matches!(stat.kind, Kind::Directory(_)) {
                pending.extend(self.children(&place)?.into_iter().map(|(_, place)| place));
            }
        }
        Ok(measure)
    }
}

/// A file whose content is still to read.
struct Unread {
    order: u64,
    place: Place,
    node: NodeId,
}

struct Reading<'a> {
    medium: &'a Medium,
    sums: Sums,
    layer: LayerRead,
    /// Nodes by the identity of their files.
    known: HashMap<u64, NodeId>,
    pending: Vec<Pending>,
    /// Read last, in the order of their places on the disk.
    unread: Vec<Unread>,
    holes: u64,
}

impl Reading<'_> {
    fn node(&mut self, next: &Pending, path: &[u8]) -> Result<(), MediumError> {
        let stat = self.medium.stat(&next.place)?;
        let directory = matches!(stat.kind, Kind::Directory(_));
        match self.known.get(&stat.id) {
            Some(_) if directory => return Err(MediumError::SeveralPlaces),
            Some(node) => {
                self.layer.tree.link(next.parent, &next.name, *node);
                return Ok(());
            }
            None => {}
        }
        let attributes = Attributes { xattrs: self.medium.xattrs(&next.place)?, ..stat.attributes };
        let size = if let Kind::File(content) = &stat.kind { content.size } else { 0 };
        self.holes = self.holes.saturating_add(size.saturating_sub(stat.occupied));
        if self.holes > MAX_HOLES {
            return Err(MediumError::TooManyHoles);
        }
        let file = matches!(stat.kind, Kind::File(_));
        let node = self.layer.tree.insert(next.parent, &next.name, attributes, stat.kind);
        if file {
            self.unread.push(Unread { order: stat.order, place: next.place.clone(), node });
        }
        self.layer.files += 1;
        if directory || stat.linked {
            self.known.insert(stat.id, node);
        }
        if directory { self.open(&next.place, node, path) } else { Ok(()) }
    }

    /// Puts a directory's names onto the stack.
    fn open(&mut self, place: &Place, node: NodeId, path: &[u8]) -> Result<(), MediumError> {
        if path.len() > MAX_PATH {
            return Err(MediumError::PathTooLong);
        }
        let children = self.medium.children(place)?;
        let path: Rc<[u8]> = path.into();
        // The first name on top: inodes were numbered in that order.
        self.pending.extend(children.into_iter().rev().map(|(name, place)| Pending {
            place,
            parent: node,
            name,
            path: Rc::clone(&path),
        }));
        Ok(())
    }

    /// Reads the contents of all files.
    fn contents(&mut self) {
        let mut window = Window::wide();
        let mut unread = std::mem::take(&mut self.unread);
        unread.sort_by_key(|file| file.order);
        for Unread { place, node, .. } in unread {
            if self.layer.failures.len() >= MAX_FAILURES {
                return;
            }
            if let Err(error) = self.content(&place, node, &mut window) {
                let path = self.layer.tree.walk().find(|visit| visit.id == node).map(|visit| visit.path);
                self.layer.failures.push(LayerFailure { path: path.unwrap_or_default(), error });
            }
        }
    }

    fn content(&mut self, place: &Place, node: NodeId, window: &mut Window) -> Result<(), MediumError> {
        let mut blake3 = self.sums.blake3.then(blake3::Hasher::new);
        let mut md5 = self.sums.md5.then(Md5::new);
        let mut length = 0;
        self.medium.content(place, window, &mut |piece| {
            length += piece.len() as u64;
            if let Some(blake3) = &mut blake3 {
                blake3.update(piece);
            }
            if let Some(md5) = &mut md5 {
                md5.update(piece);
            }
        })?;
        self.layer.bytes += length;
        if let Kind::File(content) = &mut self.layer.tree.node_mut(node).kind {
            content.hash = blake3.map_or([0; 32], |blake3| blake3.finalize().into());
            content.md5 = md5.map(|md5| Box::new(md5.finalize().into()));
        }
        Ok(())
    }
}

fn joined(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if parent.is_empty() { b"" } else { b"/" };
    [parent, separator, name].concat()
}
