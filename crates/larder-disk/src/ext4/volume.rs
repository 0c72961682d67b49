//! A file system being written: what the workers share while content streams in, and the order in which it is finished.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::content::ContentWriter;
use super::device::{Appender, Device, Target, WriteQueue};
use super::geometry::usable;
use super::groups::Groups;
use super::ledger::Ledger;
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

/// A file system whose superblock is not written yet, as one of its writers has it.
pub(crate) struct Volume {
    disk: Arc<Disk>,
    /// What this writer took.
    ledger: Mutex<Ledger>,
}

/// What all writers share.
struct Disk {
    options: VolumeOptions,
    device: Arc<Device>,
    queue: WriteQueue,
    space: Mutex<Space>,
    /// Blocks of failed layers. Writes to them may still be under way, so they are free only once the queue is empty.
    withdrawn: Mutex<Vec<Run>>,
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
        let (space, withdrawn) = (Mutex::new(Space::new(limit)), Mutex::default());
        Ok(Self::of(Arc::new(Disk { options, device, queue, space, withdrawn })))
    }

    fn of(disk: Arc<Disk>) -> Self {
        Self { disk, ledger: Mutex::default() }
    }

    /// The same file system for one layer, which [`Self::withdraw`] can undo.
    pub(crate) fn for_layer(&self) -> Self {
        Self::of(Arc::clone(&self.disk))
    }

    /// Gives back all blocks that were taken by way of this value.
    pub(crate) fn withdraw(self) {
        let ledger = self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        locked(&self.disk.withdrawn).extend(ledger.into_runs());
    }

    /// A worker's way to write content.
    pub(crate) fn writer(&self) -> ContentWriter<'_> {
        ContentWriter::new(self)
    }

    /// Writes the metadata of `tree`, whose content is all written, and at the very end the superblock.
    pub(crate) fn finish(self, tree: &Tree, uuid: [u8; 16]) -> Result<Finished, Ext4Error> {
        let Some(disk) = Arc::into_inner(self.disk) else {
            return Err(Ext4Error::write(io::Error::other("a layer is still being written")));
        };
        let Disk { options, device, mut queue, space, withdrawn } = disk;
        let mut space = space.into_inner().unwrap_or_else(PoisonError::into_inner);
        let withdrawn = withdrawn.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !withdrawn.is_empty() {
            queue.finish()?;
            queue = WriteQueue::start(&device, options.workers);
            for run in withdrawn {
                space.give_back(run);
            }
        }
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
        self.disk.options.checksums
    }

    pub(super) fn take(&self, blocks: u64) -> Result<Run, Ext4Error> {
        let mut space = self.space();
        let run = space.take(blocks).ok_or_else(|| full(&space))?;
        locked(&self.ledger).take(&run);
        Ok(run)
    }

    pub(super) fn give_back(&self, run: Run) {
        locked(&self.ledger).give_back(&run);
        self.space().give_back(run);
    }

    pub(super) fn appender(&self) -> Appender<'_> {
        Appender::new(&self.disk.queue)
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        locked(&self.disk.space)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn full(space: &Space) -> Ext4Error {
    Ext4Error::Full { available: larder_core::ByteSize(space.limit() * BLOCK_U64) }
}
