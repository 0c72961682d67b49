//! The file or block device that is written: aligned buffers, and threads that write them past the page cache.
//!
//! Going through the page cache costs more than inflating does, so writes use `O_DIRECT` wherever the target allows it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{BLOCK, BLOCK_U64, Ext4Error};

/// Bytes of a write: large enough that a disk's latency does not count.
pub(crate) const BUFFER: usize = 1 << 20;
/// Writes in flight at once: enough to keep a disk busy while the workers fill the next buffers.
const WRITERS: usize = 2;
/// Buffers that may wait for a writer, beside those that the workers fill.
const QUEUE: usize = 8;
/// A growing file gets its blocks in steps, so that a full file system is noticed early and writes never extend the file.
const GROW: u64 = 256 << 20;
/// Signatures of other formats stand within this much of a device's ends (GPT, LVM, RAID, other file systems).
const SIGNATURES: u64 = 1 << 20;

/// Page-aligned memory, as `O_DIRECT` wants it.
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; BUFFER + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + BUFFER]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BUFFER]
    }
}

/// What is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file, which grows as needed.
    File,
    /// A block device of so many bytes.
    Device(u64),
}

/// An opened target.
pub(crate) struct Device {
    file: File,
    target: Target,
    /// How far a growing file has its blocks, in bytes.
    reserved: Mutex<u64>,
}

impl Device {
    /// Opens `path` for writing, past the page cache if it allows that; a file is created, and must not exist.
    pub(crate) fn open(path: &Path, target: Target) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(target == Target::File).mode(0o666);
        let exclusive = match target {
            Target::File => 0,
            // Fails while the device is mounted or otherwise in use.
            Target::Device(_) => rustix::fs::OFlags::EXCL.bits().cast_signed(),
        };
        let file = options.custom_flags(exclusive).open(path)?;
        // Some file systems (tmpfs of older kernels) have no O_DIRECT: those are written through the page cache.
        let flags = rustix::fs::fcntl_getfl(&file)? | rustix::fs::OFlags::DIRECT;
        if let Err(error) = rustix::fs::fcntl_setfl(&file, flags) {
            tracing::debug!(%error, "writing through the page cache");
        }
        Ok(Self { file, target, reserved: Mutex::new(0) })
    }

    /// Makes sure that a growing file reaches `end` bytes.
    fn reserve(&self, end: u64) -> io::Result<()> {
        if self.target != Target::File {
            return Ok(());
        }
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if end > *reserved {
            let upto = end.next_multiple_of(GROW);
            match rustix::fs::fallocate(
                &self.file,
                rustix::fs::FallocateFlags::empty(),
                *reserved,
                upto - *reserved,
            ) {
                Ok(()) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.file.set_len(upto)?,
                Err(error) => return Err(error.into()),
            }
            *reserved = upto;
        }
        Ok(())
    }

    fn write(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.reserve(offset + buffer.len() as u64)?;
        self.file.write_all_at(buffer, offset)
    }

    /// Everything written so far is on the medium when this returns.
    pub(super) fn sync(&self) -> Result<(), Ext4Error> {
        self.file.sync_all().map_err(|source| Ext4Error::Io { doing: "sync", source })
    }

    /// Wipes the places where other formats have their signatures.
    pub(super) fn wipe_signatures(&self) -> Result<(), Ext4Error> {
        let Target::Device(size) = self.target else { return Ok(()) };
        let zeros = Buffer::new();
        let size = size - size % BLOCK_U64;
        for offset in [0, size.saturating_sub(SIGNATURES)] {
            let length = usize::try_from(SIGNATURES.min(size)).unwrap_or(BUFFER);
            self.write(&zeros[..length], offset).map_err(Ext4Error::write)?;
        }
        self.sync()
    }

    /// Gives back what a growing file has beyond `end` bytes, or extends it to there.
    pub(super) fn finish_at(&self, end: u64) -> Result<(), Ext4Error> {
        match self.target {
            Target::File => self.file.set_len(end).map_err(Ext4Error::write),
            Target::Device(_) => Ok(()),
        }
    }
}

struct Write {
    buffer: Buffer,
    length: usize,
    offset: u64,
}

/// Threads that write buffers to a device, and the pool that the buffers come from.
pub(super) struct WriteQueue {
    writes: Option<Sender<Write>>,
    pool: Receiver<Buffer>,
    to_pool: Sender<Buffer>,
    failure: Arc<Mutex<Option<io::Error>>>,
    threads: Vec<JoinHandle<()>>,
}

impl WriteQueue {
    /// Starts the threads, with buffers for `workers` that fill one each; memory is [`BUFFER`] for each worker and place in the queue.
    pub(super) fn start(device: &Arc<Device>, workers: usize) -> Self {
        let buffers = workers + QUEUE + WRITERS;
        let (to_pool, pool) = bounded(buffers);
        let (writes, to_write) = bounded(buffers);
        let failure = Arc::new(Mutex::new(None));
        for _ in 0..buffers {
            // The channel has room for them all.
            let _sent = to_pool.try_send(Buffer::new());
        }
        let start = || {
            let (device, failure) = (Arc::clone(device), Arc::clone(&failure));
            let (to_write, to_pool): (Receiver<Write>, Sender<Buffer>) = (to_write.clone(), to_pool.clone());
            std::thread::spawn(move || {
                for write in to_write {
                    if let Err(error) = device.write(&write.buffer[..write.length], write.offset) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                    let _closed = to_pool.send(write.buffer);
                }
            })
        };
        let threads = (0..WRITERS).map(|_| start()).collect();
        Self { writes: Some(writes), pool, to_pool, failure, threads }
    }

    /// An empty buffer; waits until one is free.
    pub(super) fn buffer(&self) -> Result<Buffer, Ext4Error> {
        self.check()?;
        self.pool.recv().map_err(|_| Ext4Error::write(io::ErrorKind::BrokenPipe.into()))
    }

    /// Writes the first `length` bytes of `buffer` at `offset`, some time before [`Self::finish`] returns.
    pub(super) fn submit(&self, buffer: Buffer, length: usize, offset: u64) -> Result<(), Ext4Error> {
        let write = Write { buffer, length, offset };
        let sent = self.writes.as_ref().is_some_and(|writes| writes.send(write).is_ok());
        if sent { self.check() } else { Err(Ext4Error::write(io::ErrorKind::BrokenPipe.into())) }
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) -> Result<(), Ext4Error> {
        self.join();
        self.check()
    }

    fn check(&self) -> Result<(), Ext4Error> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => Ok(()),
            Some(error) => Err(Ext4Error::write(copy_of(error))),
        }
    }

    fn join(&mut self) {
        self.writes = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                let panicked = io::Error::other("a writing thread ended unexpectedly");
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panicked);
            }
        }
    }
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        self.join();
    }
}

/// Collects what is next to each other on the device into large writes.
pub(super) struct Appender<'a> {
    queue: &'a WriteQueue,
    buffer: Option<Buffer>,
    filled: usize,
    /// Where the buffer's first byte goes.
    offset: u64,
}

impl<'a> Appender<'a> {
    pub(super) fn new(queue: &'a WriteQueue) -> Self {
        Self { queue, buffer: None, filled: 0, offset: 0 }
    }

    /// Puts `data` at byte `offset` of the device. What is put elsewhere than behind the bytes before must begin a block, and
    /// they must have ended one.
    pub(super) fn put(&mut self, offset: u64, mut data: &[u8]) -> Result<(), Ext4Error> {
        if offset != self.offset + self.filled as u64 {
            self.flush()?;
            self.offset = offset;
        }
        while !data.is_empty() {
            let buffer = match &mut self.buffer {
                Some(buffer) => buffer,
                none => none.insert(self.queue.buffer()?),
            };
            let length = data.len().min(BUFFER - self.filled);
            let (now, later) = data.split_at(length);
            buffer[self.filled..self.filled + length].copy_from_slice(now);
            self.filled += length;
            data = later;
            if self.filled == BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Hands over what is collected.
    pub(super) fn flush(&mut self) -> Result<(), Ext4Error> {
        let (offset, filled) = (self.offset, std::mem::take(&mut self.filled));
        self.offset += filled as u64;
        match self.buffer.take() {
            Some(buffer) => self.queue.submit(buffer, filled, offset),
            None => Ok(()),
        }
    }
}

/// What a failed layer had collected is not written, but its buffer is wanted by the others.
impl Drop for Appender<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // The pool has room for every buffer there is.
            let _returned = self.queue.to_pool.try_send(buffer);
        }
    }
}

/// Every worker that meets the failure reports it, and `io::Error` has no `Clone`.
fn copy_of(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_appender_leaves_its_buffer_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let device = Arc::new(Device::open(&directory.path().join("disk"), Target::File).unwrap());
        let queue = WriteQueue::start(&device, 1);
        for _ in 0..4 * (1 + QUEUE + WRITERS) {
            Appender::new(&queue).put(0, b"never written").unwrap();
        }
        queue.finish().unwrap();
    }
}
