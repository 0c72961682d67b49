//! A file system being written: what the workers share while content streams in, and the order in which it is finished.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::content::ContentWriter;
use super::device::{Appender, Device, Target, WriteQueue};
use super::geometry::usable;
use super::groups::Groups;
use super::nodes::Nodes;
use super::space::{Run, Space};
use super::{BLOCK_U64, Ext4Error};
use crate::tree::Tree;

/// How far a file may grow: 1 TiB of blocks, unless more content is announced.
const FILE_LIMIT: u64 = (1 << 40) / BLOCK_U64;

/// How large a file system becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizing {
    /// As large as what is on it, and so many free bytes more.
    Needed { headroom: u64 },
    /// Exactly so many bytes, as far as block groups allow.
    Fixed(u64),
}

/// What is decided before the first byte is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VolumeOptions {
    pub(crate) sizing: Sizing,
    pub(crate) journal: bool,
    /// Whether files get the MD5 that the reference's checksums are made of.
    pub(crate) checksums: bool,
    /// How many write at once.
    pub(crate) workers: usize,
}

/// A file system whose superblock is not written yet.
pub(crate) struct Volume {
    options: VolumeOptions,
    device: Arc<Device>,
    queue: WriteQueue,
    space: Mutex<Space>,
}

/// A finished file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Of the file system, and of the file that holds it.
    pub(crate) size: u64,
    /// In use, metadata included.
    pub(crate) used: u64,
    pub(crate) inodes: u64,
}

impl Volume {
    /// Begins a file system at `path`; what was there is wiped.
    pub(crate) fn create(path: &Path, target: Target, options: VolumeOptions) -> Result<Self, Ext4Error> {
        let device = Device::open(path, target).map_err(|source| Ext4Error::Io { doing: "open", source })?;
        device.wipe_signatures()?;
        let device = Arc::new(device);
        let limit = match options.sizing {
            Sizing::Needed { .. } => FILE_LIMIT,
            Sizing::Fixed(bytes) => usable(bytes / BLOCK_U64),
        };
        let queue = WriteQueue::start(&device, options.workers);
        Ok(Self { options, device, queue, space: Mutex::new(Space::new(limit)) })
    }

    /// A worker's way to write content.
    pub(crate) fn writer(&self) -> ContentWriter<'_> {
        ContentWriter::new(self)
    }

    /// Writes the metadata of `tree`, whose content is all written, and at the very end the superblock.
    pub(crate) fn finish(self, tree: &Tree, uuid: [u8; 16]) -> Result<Finished, Ext4Error> {
        let Self { options, device, queue, space } = self;
        let space = space.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (nodes, journal) = Nodes::write(tree, &queue, space, &uuid, options.journal)?;
        let (finished, superblock) = Groups::new(nodes, options.sizing, uuid, journal).write()?;
        queue.finish()?;
        device.finish_at(finished.size)?;
        device.sync()?;
        let queue = WriteQueue::start(&device, 1);
        {
            let mut out = Appender::new(&queue);
            out.put(0, &superblock)?;
            out.flush()?;
        }
        queue.finish()?;
        device.sync()?;
        Ok(finished)
    }

    /// Bytes that were handed out so far.
    pub(crate) fn occupied(&self) -> u64 {
        self.space().end() * BLOCK_U64
    }

    pub(super) fn checksums(&self) -> bool {
        self.options.checksums
    }

    pub(super) fn take(&self, blocks: u64) -> Result<Run, Ext4Error> {
        let mut space = self.space();
        space.take(blocks).ok_or_else(|| full(&space))
    }

    pub(super) fn give_back(&self, run: Run) {
        self.space().give_back(run);
    }

    pub(super) fn appender(&self) -> Appender<'_> {
        Appender::new(&self.queue)
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn full(space: &Space) -> Ext4Error {
    Ext4Error::Full { available: larder_core::ByteSize(space.limit() * BLOCK_U64) }
}
