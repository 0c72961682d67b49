//! Applies the entries of a tar stream to a tree, and streams the files' content to the disk.

use std::io::BufRead;

use crate::ext4::{ContentWriter, Ext4Error, OpenFile, is_storable};
use crate::layer::path::{self, PathError};
use crate::tar::{Entry, EntryKind, TarError, TarReader};
use crate::tree::{Attributes, Content, Inherits, Kind, MAX_LINKS, NodeId, Time, Tree};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");
const CAPABILITY: &[u8] = b"security.capability";
/// Symlink targets that the kernel accepts are shorter than `PATH_MAX`.
const MAX_TARGET: usize = 4095;
/// Device numbers have 12 bits of major and 20 of minor.
const MAX_MAJOR: i64 = 0xfff;
const MAX_MINOR: i64 = 0xf_ffff;
/// The longest attribute name that Linux accepts (`XATTR_NAME_MAX`).
const MAX_XATTR_NAME: usize = 255;

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
    #[error("the owner {0}:{1} is out of range")]
    Owner(i64, i64),
    #[error("the name of the extended attribute {0:?} is too long")]
    XattrName(String),
    #[error("it deletes a name that is not one")]
    WhiteoutName,
    #[error("it deletes what the same layer has put there")]
    WhiteoutOfOwn,
}

/// Reads a layer from `input` up to the archive's end, and streams its content to the disk; `base` says that there are no layers
/// below it. Returns its tree, and the rest of the stream.
pub(crate) fn unpack<R: BufRead>(
    input: R,
    base: bool,
    writer: &mut ContentWriter<'_>,
) -> Result<(Tree, R), LayerError> {
    let mut layer = Layer { tree: Tree::new(Attributes::plain_directory()), base, writer };
    let mut reader = TarReader::new(input);
    while let Some(entry) = reader.next_entry()? {
        layer.apply(&entry, &mut reader).map_err(|failure| match failure {
            Failure::Entry(reason) => LayerError::Entry {
                path: String::from_utf8_lossy(&entry.path).escape_debug().to_string(),
                reason,
            },
            Failure::Layer(error) => error,
        })?;
    }
    Ok((layer.tree, reader.into_inner()))
}

struct Layer<'a, 'v> {
    tree: Tree,
    base: bool,
    writer: &'a mut ContentWriter<'v>,
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
        let attributes = attributes(entry)?;
        match entry.kind {
            EntryKind::Directory => self.put_directory(directory, name, attributes),
            EntryKind::HardLink => self.put_hard_link(directory, name, entry, &attributes)?,
            EntryKind::File => {
                let content = self.content(entry, reader)?;
                self.tree.insert(directory, name, attributes, Kind::File(content));
            }
            EntryKind::Symlink => {
                if entry.link.is_empty() || entry.link.len() > MAX_TARGET {
                    return Err(EntryError::SymlinkTarget.into());
                }
                let attributes = Attributes { mode: 0o777, ..without_user_xattrs(attributes) };
                self.tree.insert(directory, name, attributes, Kind::Symlink(entry.link.as_slice().into()));
            }
            EntryKind::CharacterDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                self.tree.insert(directory, name, without_user_xattrs(attributes), special(entry)?);
            }
        }
        Ok(())
    }

    /// In an upper layer a mark; in a base layer the removal of what the archive did not name itself.
    fn make_opaque(&mut self, directory: NodeId) {
        if !self.base {
            let (name, value) = OPAQUE_XATTR;
            self.tree.node_mut(directory).attributes.set_xattr(name, value);
            return;
        }
        let mut pending = vec![directory];
        while let Some(id) = pending.pop() {
            let entries =
                self.tree.node(id).directory().map(|directory| directory.entries.clone()).unwrap_or_default();
            for (name, child) in entries {
                match self.tree.node(child).directory().map(|directory| directory.inherits) {
                    Some(Inherits::Everything) => self.tree.remove(id, &name),
                    Some(_) => pending.push(child),
                    None => {}
                }
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
        let attributes = Attributes { mode: 0, xattrs: None, ..attributes(entry)? };
        self.tree.insert(directory, name, attributes, Kind::CharacterDevice { major: 0, minor: 0 });
        Ok(())
    }

    /// A directory that is there already keeps what it holds and takes the new attributes.
    fn put_directory(&mut self, parent: NodeId, name: &[u8], attributes: Attributes) {
        let existing = self.tree.child(parent, name).filter(|id| self.tree.node(*id).directory().is_some());
        let Some(id) = existing else {
            self.tree.insert(parent, name, attributes, Kind::Directory(crate::tree::Directory::default()));
            return;
        };
        let node = self.tree.node_mut(id);
        update(&mut node.attributes, attributes);
        if let Some(directory) = node.directory_mut()
            && directory.inherits == Inherits::Everything
        {
            directory.inherits = Inherits::Xattrs;
        }
    }

    /// One more name for a node, which takes the attributes of the link's own header.
    fn put_hard_link(
        &mut self,
        directory: NodeId,
        name: &[u8],
        entry: &Entry,
        attributes: &Attributes,
    ) -> Result<(), EntryError> {
        let missing = || EntryError::LinkTarget(String::from_utf8_lossy(&entry.link).into_owned());
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
            Kind::Symlink(_) => {
                let attributes = Attributes { mode: 0o777, ..without_user_xattrs(attributes.clone()) };
                update(&mut node.attributes, attributes);
            }
            _ => {
                // The kernel drops capabilities when a file's owner is set.
                if let Some(xattrs) = &mut node.attributes.xattrs {
                    xattrs.remove(CAPABILITY);
                }
                update(&mut node.attributes, attributes.clone());
            }
        }
        self.tree.link(directory, name, target);
        Ok(())
    }

    fn content<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut TarReader<R>,
    ) -> Result<Content, LayerError> {
        let mut file = OpenFile::new(entry.data());
        let mut hasher = blake3::Hasher::new();
        let writer = &mut *self.writer;
        let Some(segments) = &entry.segments else {
            let mut left = entry.size;
            reader.data(entry.size, |slice| {
                left -= slice.len() as u64;
                hasher.update(slice);
                writer.write(&mut file, slice).map_err(LayerError::from)
            })?;
            return finish(writer, file, entry.size, &hasher);
        };
        let mut position = 0;
        for segment in segments {
            hole(writer, &mut file, &mut hasher, segment.offset - position)?;
            reader.data(segment.length, |slice| {
                hasher.update(slice);
                writer.write(&mut file, slice).map_err(LayerError::from)
            })?;
            position = segment.offset + segment.length;
        }
        hole(writer, &mut file, &mut hasher, entry.size - position)?;
        finish(writer, file, entry.size, &hasher)
    }
}

fn finish(
    writer: &mut ContentWriter<'_>,
    file: OpenFile,
    size: u64,
    hasher: &blake3::Hasher,
) -> Result<Content, LayerError> {
    Ok(Content { size, extents: writer.close(file)?, hash: hasher.finalize().into() })
}

fn hole(
    writer: &mut ContentWriter<'_>,
    file: &mut OpenFile,
    hasher: &mut blake3::Hasher,
    length: u64,
) -> Result<(), LayerError> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = length;
    while left > 0 {
        let now = left.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..usize::try_from(now).unwrap_or(ZEROS.len())]);
        left -= now;
    }
    Ok(writer.hole(file, length)?)
}

/// The attributes of an entry's header, as far as a file system keeps them.
fn attributes(entry: &Entry) -> Result<Attributes, EntryError> {
    let owner = || EntryError::Owner(entry.uid, entry.gid);
    let mut attributes = Attributes {
        #[expect(clippy::cast_sign_loss, reason = "twelve bits are left")]
        mode: (entry.mode & 0o7777) as u16,
        uid: u32::try_from(entry.uid).map_err(|_| owner())?,
        gid: u32::try_from(entry.gid).map_err(|_| owner())?,
        mtime: bounded(entry.mtime),
        xattrs: None,
    };
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_taken(name)) {
        if name.len() > MAX_XATTR_NAME {
            return Err(EntryError::XattrName(String::from_utf8_lossy(name).into_owned()));
        }
        attributes.set_xattr(name, value);
    }
    Ok(attributes)
}

/// What containerd sets: never `trusted.*`, which are the node's own, nor what the file system cannot store.
fn is_taken(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.") && is_storable(name)
}

/// containerd replaces times that its own clock calls cannot express by 1970.
fn bounded(time: Time) -> Time {
    const LAST: i64 = i64::MAX / 1_000_000_000;
    if (0..LAST).contains(&time.seconds) { time } else { Time::default() }
}

/// Only files and directories have attributes in the user namespace.
fn without_user_xattrs(mut attributes: Attributes) -> Attributes {
    if let Some(xattrs) = &mut attributes.xattrs {
        xattrs.retain(|name, _| !name.starts_with(b"user."));
    }
    attributes.xattrs = attributes.xattrs.filter(|xattrs| !xattrs.is_empty());
    attributes
}

/// A later header for the same node: its extended attributes are added to those that are there.
fn update(attributes: &mut Attributes, later: Attributes) {
    let earlier = std::mem::replace(attributes, later);
    for (name, value) in earlier.xattrs.into_iter().flat_map(|xattrs| *xattrs) {
        let known = attributes.xattrs.as_ref().is_some_and(|xattrs| xattrs.contains_key(&name));
        if !known {
            attributes.set_xattr(&name, &value);
        }
    }
}

fn special(entry: &Entry) -> Result<Kind, EntryError> {
    if entry.kind == EntryKind::Fifo {
        return Ok(Kind::Fifo);
    }
    if !(0..=MAX_MAJOR).contains(&entry.major) || !(0..=MAX_MINOR).contains(&entry.minor) {
        return Err(EntryError::Device(entry.major, entry.minor));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let (major, minor) = (entry.major as u32, entry.minor as u32);
    Ok(match entry.kind {
        EntryKind::BlockDevice => Kind::BlockDevice { major, minor },
        _ => Kind::CharacterDevice { major, minor },
    })
}

#[cfg(test)]
mod tests;
