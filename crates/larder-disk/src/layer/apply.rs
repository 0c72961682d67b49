//! Applies the entries of a tar stream to a tree, and streams the files' content to the disk.

use std::collections::HashSet;
use std::io::BufRead;

use super::attributes::{self, AttributeError, CAPABILITY};
use super::hole::hole;
use super::path::{self, PathError};
use super::shown;
use crate::ext4::{Closed, ContentWriter, Ext4Error, OpenFile};
use crate::tar::{Entry, EntryKind, TarError, TarReader};
use crate::tree::{Attributes, Content, Directory, Inherits, Kind, MAX_LINKS, Name, NodeId, Time, Tree};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");
/// Symlink targets that the kernel accepts are shorter than `PATH_MAX`.
const MAX_TARGET: usize = 4095;
/// Device numbers have 12 bits of major and 20 of minor.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;
/// Files, directories and links of one layer, replaced ones included: ten times what the largest known layers have. Each takes
/// some 200 to 400 bytes of memory, and a few bytes of an archive can ask for one.
const MAX_NODES: usize = 5_000_000;
/// Bytes of holes in one layer: every one of them is hashed, which takes about a minute for this many.
const MAX_HOLES: u64 = 256 << 30;

/// Why a tar stream is not a layer that can be laid out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    /// The archive cannot be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry cannot be applied.
    #[error("entry {path}: {reason}")]
    Entry {
        /// The entry's path, as far as it can be shown.
        path: String,
        /// What is wrong with it.
        reason: EntryError,
    },
    /// The disk cannot be written.
    #[error(transparent)]
    Write(#[from] Ext4Error),
}

impl LayerError {
    /// The error of the stream itself, which is not the layer's fault; or this one.
    pub(crate) fn into_stream_error(self) -> Result<std::io::Error, Self> {
        match self {
            Self::Tar(TarError::Read(error)) => Ok(error),
            other => Err(other),
        }
    }
}

/// Why one entry cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("it is a hard link to {0:?}, which the layer does not have")]
    LinkTarget(String),
    #[error("it is a hard link to a directory")]
    LinkToDirectory,
    #[error("its file has more than 65000 names, which ext4 cannot hold")]
    TooManyLinks,
    #[error("the symbolic link's target is empty or longer than 4095 bytes")]
    SymlinkTarget,
    #[error("the device number {0}:{1} is out of range")]
    Device(i64, i64),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error("with it the layer has more than 5000000 files and directories")]
    TooManyNodes,
    #[error("with it the layer's sparse files have more than 256 GiB of holes")]
    TooManyHoles,
    #[error("it deletes a name that is not one")]
    WhiteoutName,
    #[error("it deletes what the same layer has put there")]
    WhiteoutOfOwn,
}

/// Reads a layer from `input` up to the archive's end, and streams its content to the disk; `base` says that there are no layers
/// below it. Returns its tree, and the rest of the stream. Where the stream gives nothing for long, `ended` is asked whether it
/// is still wanted.
pub(crate) fn unpack<R: BufRead>(
    input: R,
    base: bool,
    writer: &mut ContentWriter<'_>,
    ended: &dyn Fn() -> bool,
) -> Result<(Tree, R), LayerError> {
    let mut layer = Layer {
        tree: Tree::new(Attributes::plain_directory()),
        base,
        writer,
        ended,
        directory_times: Vec::new(),
        opaque: HashSet::new(),
        holes: 0,
    };
    let mut reader = TarReader::new(input);
    while let Some(entry) = reader.next_entry()? {
        layer.apply(&entry, &mut reader).map_err(|failure| match failure {
            Failure::Entry(reason) => LayerError::Entry { path: shown(&entry.path), reason },
            Failure::Layer(error) => error,
        })?;
    }
    layer.set_directory_times();
    Ok((layer.tree, reader.into_inner()))
}

struct Layer<'a, 'v> {
    tree: Tree,
    base: bool,
    writer: &'a mut ContentWriter<'v>,
    ended: &'a dyn Fn() -> bool,
    /// What the headers of directories say, by path.
    directory_times: Vec<(Box<[u8]>, Time)>,
    /// Directories of a base layer whose opaque mark was seen.
    opaque: HashSet<NodeId>,
    holes: u64,
}

/// An entry's own fault, which is told with its path; or that of the stream or the disk.
enum Failure {
    Entry(EntryError),
    Layer(LayerError),
}

impl<E: Into<EntryError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Entry(error.into())
    }
}

impl From<LayerError> for Failure {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl Layer<'_, '_> {
    fn apply<R: BufRead>(&mut self, entry: &Entry, reader: &mut TarReader<R>) -> Result<(), Failure> {
        let names = path::components(&entry.path)?;
        // The root's own attributes are the snapshotter's.
        let Some((name, parents)) = names.split_last() else { return Ok(()) };
        let directory = path::make_directory(&mut self.tree, parents)?;
        if *name == OPAQUE {
            self.make_opaque(directory);
            return Ok(());
        }
        if let Some(deleted) = name.strip_prefix(WHITEOUT) {
            return Ok(self.white_out(directory, deleted, entry)?);
        }
        match entry.kind {
            EntryKind::HardLink => self.put_hard_link(directory, name, entry)?,
            EntryKind::Directory => self.put_directory(directory, name, entry)?,
            EntryKind::Global => self.tree.remove(directory, name),
            _ => {
                let kind = self.kind(entry, reader)?;
                let attributes = attributes::attributes(entry, &kind)?;
                self.tree.insert(directory, name, attributes, kind);
            }
        }
        if self.tree.len() > MAX_NODES {
            return Err(EntryError::TooManyNodes.into());
        }
        Ok(())
    }

    /// What a new node is, its content written.
    fn kind<R: BufRead>(&mut self, entry: &Entry, reader: &mut TarReader<R>) -> Result<Kind, Failure> {
        match entry.kind {
            EntryKind::Symlink if entry.link.is_empty() || entry.link.len() > MAX_TARGET => {
                Err(EntryError::SymlinkTarget.into())
            }
            EntryKind::Symlink => Ok(Kind::Symlink(entry.link.as_slice().into())),
            EntryKind::CharacterDevice => {
                let (major, minor) = device(entry)?;
                Ok(Kind::CharacterDevice { major, minor })
            }
            EntryKind::BlockDevice => {
                let (major, minor) = device(entry)?;
                Ok(Kind::BlockDevice { major, minor })
            }
            EntryKind::Fifo => Ok(Kind::Fifo),
            _ => Ok(Kind::File(self.content(entry, reader)?)),
        }
    }

    /// In an upper layer a mark; in a base layer the removal of what the archive did not name itself.
    fn make_opaque(&mut self, directory: NodeId) {
        if !self.base {
            let (name, value) = OPAQUE_XATTR;
            self.tree.node_mut(directory).attributes.set_xattr(name, value);
            return;
        }
        // Once for each: otherwise many marks on a large directory would take for ever.
        if !self.opaque.insert(directory) {
            return;
        }
        let mut pending = vec![directory];
        while let Some(id) = pending.pop() {
            let mut implied = Vec::new();
            for (name, child) in self.tree.node(id).directory().into_iter().flat_map(|it| &it.entries) {
                match self.tree.node(*child).directory().map(|directory| directory.inherits) {
                    Some(Inherits::Everything) => implied.push(name.clone()),
                    Some(_) => pending.push(*child),
                    None => {}
                }
            }
            for name in &implied {
                self.tree.remove(id, name);
            }
        }
    }

    /// In an upper layer a character device 0:0; in a base layer there is nothing below that could be deleted.
    fn white_out(&mut self, directory: NodeId, name: &[u8], entry: &Entry) -> Result<(), EntryError> {
        if matches!(name, b"" | b"." | b"..") {
            return Err(EntryError::WhiteoutName);
        }
        if self.base {
            self.tree.remove(directory, name);
            return Ok(());
        }
        if self.tree.child(directory, name).is_some() {
            return Err(EntryError::WhiteoutOfOwn);
        }
        let attributes = attributes::owner(entry)?;
        self.tree.insert(directory, name, attributes, Kind::CharacterDevice { major: 0, minor: 0 });
        Ok(())
    }

    /// A directory that is there already keeps what it holds and takes the new attributes.
    fn put_directory(&mut self, parent: NodeId, name: &[u8], entry: &Entry) -> Result<(), EntryError> {
        let kind = Kind::Directory(Directory::default());
        let attributes = attributes::attributes(entry, &kind)?;
        self.directory_times.push((entry.path.as_slice().into(), attributes.mtime));
        let existing = self.tree.child(parent, name).filter(|id| self.tree.node(*id).directory().is_some());
        let Some(id) = existing else {
            self.tree.insert(parent, name, attributes, kind);
            return Ok(());
        };
        let node = self.tree.node_mut(id);
        attributes::update(&mut node.attributes, attributes, entry)?;
        if let Some(directory) = node.directory_mut()
            && directory.inherits != Inherits::Nothing
        {
            directory.inherits = Inherits::Xattrs;
            directory.removed.extend(attributes::removed(entry).map(Name::from));
        }
        Ok(())
    }

    /// containerd sets the times of directories last, by their path: what has the path by then takes them.
    fn set_directory_times(&mut self) {
        for (path, time) in std::mem::take(&mut self.directory_times) {
            let Ok(names) = path::components(&path) else { continue };
            if let Ok(Some(id)) = path::find_at_root(&self.tree, &names) {
                self.tree.node_mut(id).attributes.mtime = time;
            }
        }
    }

    /// One more name for a node, which takes the attributes of the link's own header.
    fn put_hard_link(&mut self, directory: NodeId, name: &[u8], entry: &Entry) -> Result<(), EntryError> {
        let missing = || EntryError::LinkTarget(shown(&entry.link));
        // Archivers write the targets of links with a leading slash too; they are counted from the layer's root.
        let relative =
            entry.link.iter().position(|byte| *byte != b'/').map_or(&b""[..], |start| &entry.link[start..]);
        let names = path::components(relative)?;
        let (target_name, parents) = names.split_last().ok_or_else(missing)?;
        // The name itself goes first, whatever it was: a link to itself finds nothing.
        self.tree.remove(directory, name);
        let parent = path::find_directory(&self.tree, parents)?.ok_or_else(missing)?;
        let target = self.tree.child(parent, target_name).ok_or_else(missing)?;
        let node = self.tree.node_mut(target);
        match node.kind {
            Kind::Directory(_) => return Err(EntryError::LinkToDirectory),
            _ if node.links >= MAX_LINKS => return Err(EntryError::TooManyLinks),
            _ => {}
        }
        // The kernel drops capabilities when a file's owner is set.
        if let Some(xattrs) = &mut node.attributes.xattrs {
            xattrs.remove(CAPABILITY);
        }
        let attributes = attributes::attributes(entry, &node.kind)?;
        attributes::update(&mut node.attributes, attributes, entry)?;
        self.tree.link(directory, name, target);
        Ok(())
    }

    fn content<R: BufRead>(&mut self, entry: &Entry, reader: &mut TarReader<R>) -> Result<Content, Failure> {
        self.holes = self.holes.saturating_add(entry.size - entry.data());
        if self.holes > MAX_HOLES {
            return Err(EntryError::TooManyHoles.into());
        }
        let mut file = self.writer.open(entry.data());
        let mut hasher = blake3::Hasher::new();
        let writer = &mut *self.writer;
        let Some(segments) = &entry.segments else {
            reader.data(entry.size, |slice| {
                hasher.update(slice);
                writer.write(&mut file, slice).map_err(LayerError::from)
            })?;
            return Ok(finish(writer, file, entry.size, &hasher)?);
        };
        let mut position = 0;
        for segment in segments {
            hole(writer, &mut file, &mut hasher, position..segment.offset, self.ended)?;
            reader.data(segment.length, |slice| {
                hasher.update(slice);
                writer.write(&mut file, slice).map_err(LayerError::from)
            })?;
            position = segment.offset + segment.length;
        }
        hole(writer, &mut file, &mut hasher, position..entry.size, self.ended)?;
        Ok(finish(writer, file, entry.size, &hasher)?)
    }
}

fn finish(
    writer: &mut ContentWriter<'_>,
    file: OpenFile,
    size: u64,
    hasher: &blake3::Hasher,
) -> Result<Content, LayerError> {
    let Closed { extents, md5 } = writer.close(file)?;
    Ok(Content { size, extents, hash: hasher.finalize().into(), md5 })
}

fn device(entry: &Entry) -> Result<(u32, u32), EntryError> {
    let range = || EntryError::Device(entry.major, entry.minor);
    let number = |number: i64, max: u32| u32::try_from(number).ok().filter(|number| *number <= max);
    Ok((number(entry.major, MAX_MAJOR).ok_or_else(range)?, number(entry.minor, MAX_MINOR).ok_or_else(range)?))
}

#[cfg(test)]
mod tests;
