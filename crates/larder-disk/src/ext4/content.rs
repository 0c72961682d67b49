//! Streams the content of files to its final place: small files packed one after the other, large ones in runs of their own.

use std::mem;

use md5::{Digest as _, Md5};

use super::device::Appender;
use super::space::Run;
use super::volume::Volume;
use super::{BLOCK, BLOCK_U64, Ext4Error};
use crate::tree::Extent;

/// Blocks that a worker takes at once for small files: 8 MiB, so that a layer's files stay together.
const ZONE: u64 = 2048;
/// Files from this many blocks on (1 MiB) get runs of their own.
const LARGE: u64 = 256;
/// The most blocks that one extent describes (initialised).
const MAX_EXTENT: u16 = 32_768;
/// Block numbers within a file have 32 bits; the last one is not used.
const MAX_FILE_BLOCKS: u64 = u32::MAX as u64;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// One worker's way to the disk: a zone of free blocks, and a buffer of content that is next to it on the disk.
pub(crate) struct ContentWriter<'a> {
    volume: &'a Volume,
    zone: Run,
    out: Appender<'a>,
}

/// A file whose content is being written.
#[derive(Debug, Default)]
pub(crate) struct OpenFile {
    position: u64,
    /// Data blocks that are still to come, as far as known; a hint for contiguous runs.
    expected: u64,
    run: Run,
    extents: Vec<Extent>,
    md5: Option<Md5>,
}

/// Where the content of a file is.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) extents: Box<[Extent]>,
    pub(crate) md5: Option<Box<[u8; 16]>>,
}

impl<'a> ContentWriter<'a> {
    pub(crate) fn new(volume: &'a Volume) -> Self {
        Self { volume, zone: 0..0, out: volume.appender() }
    }

    /// Begins a file of `data` bytes of content; holes are not counted.
    pub(crate) fn open(&self, data: u64) -> OpenFile {
        let md5 = self.volume.checksums().then(Md5::new);
        OpenFile { expected: data.div_ceil(BLOCK_U64), md5, ..OpenFile::default() }
    }

    /// Appends `data` to `file`.
    pub(crate) fn write(&mut self, file: &mut OpenFile, data: &[u8]) -> Result<(), Ext4Error> {
        if let Some(md5) = &mut file.md5 {
            md5.update(data);
        }
        self.place(file, data)
    }

    fn place(&mut self, file: &mut OpenFile, mut data: &[u8]) -> Result<(), Ext4Error> {
        while !data.is_empty() {
            let within = usize::try_from(file.position % BLOCK_U64).unwrap_or(0);
            if within == 0 && file.run.is_empty() {
                file.run = self.take(file.expected.max(1))?;
            }
            let contiguous = (file.run.end - file.run.start) * BLOCK_U64 - within as u64;
            let length = data.len().min(usize::try_from(contiguous).unwrap_or(usize::MAX));
            let (now, later) = data.split_at(length);
            self.out.put(file.run.start * BLOCK_U64 + within as u64, now)?;
            file.advance(length)?;
            data = later;
        }
        Ok(())
    }

    /// Appends `length` zero bytes to `file`; whole blocks of them become holes.
    pub(crate) fn hole(&mut self, file: &mut OpenFile, length: u64) -> Result<(), Ext4Error> {
        let end = file.position.saturating_add(length);
        if end.div_ceil(BLOCK_U64) > MAX_FILE_BLOCKS {
            return Err(Ext4Error::FileTooLarge);
        }
        if let Some(md5) = &mut file.md5 {
            (0..length / BLOCK_U64).for_each(|_| md5.update(ZEROS));
            md5.update(&ZEROS[..usize::try_from(length % BLOCK_U64).unwrap_or(0)]);
        }
        let first_whole = file.position.next_multiple_of(BLOCK_U64);
        self.zeros(file, first_whole.min(end) - file.position)?;
        let last_whole = end - end % BLOCK_U64;
        if file.position < last_whole {
            file.position = last_whole;
        }
        self.zeros(file, end - file.position)
    }

    /// Ends a file: pads its last block, gives back what it did not use, and says where its content is.
    pub(crate) fn close(&mut self, mut file: OpenFile) -> Result<Closed, Ext4Error> {
        let padding = file.position.next_multiple_of(BLOCK_U64) - file.position;
        self.zeros(&mut file, padding)?;
        self.give_back(mem::take(&mut file.run));
        let md5 = file.md5.map(|md5| Box::new(md5.finalize().into()));
        Ok(Closed { extents: file.extents.into_boxed_slice(), md5 })
    }

    /// Hands over the last buffer and gives back the rest of the zone.
    pub(crate) fn finish(mut self) -> Result<(), Ext4Error> {
        let zone = mem::take(&mut self.zone);
        self.volume.give_back(zone);
        self.out.flush()
    }

    fn zeros(&mut self, file: &mut OpenFile, length: u64) -> Result<(), Ext4Error> {
        debug_assert!(length <= BLOCK_U64);
        let length = usize::try_from(length).unwrap_or(BLOCK);
        self.place(file, &ZEROS[..length])
    }

    fn take(&mut self, blocks: u64) -> Result<Run, Ext4Error> {
        if blocks >= LARGE {
            return self.volume.take(blocks);
        }
        if self.zone.is_empty() {
            self.zone = self.volume.take(ZONE)?;
        }
        let run = self.zone.start..self.zone.end.min(self.zone.start + blocks);
        self.zone.start = run.end;
        Ok(run)
    }

    fn give_back(&mut self, run: Run) {
        if run.end == self.zone.start {
            self.zone.start = run.start;
        } else {
            self.volume.give_back(run);
        }
    }
}

impl OpenFile {
    /// Accounts for `length` bytes that were put at the start of the run.
    fn advance(&mut self, length: usize) -> Result<(), Ext4Error> {
        let within = self.position % BLOCK_U64;
        let started = (self.position + length as u64).div_ceil(BLOCK_U64) - self.position.div_ceil(BLOCK_U64);
        let first = if within == 0 { self.run.start } else { self.run.start + 1 };
        self.record(self.position.div_ceil(BLOCK_U64), first, started)?;
        self.expected = self.expected.saturating_sub(started);
        self.position += length as u64;
        self.run.start += (within + length as u64) / BLOCK_U64;
        Ok(())
    }

    /// Notes that `blocks` blocks from `physical` on hold the file from block `logical` on.
    fn record(&mut self, logical: u64, mut physical: u64, mut blocks: u64) -> Result<(), Ext4Error> {
        if logical + blocks > MAX_FILE_BLOCKS {
            return Err(Ext4Error::FileTooLarge);
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        let mut logical = logical as u32;
        while blocks > 0 {
            let joined = self.extents.last_mut().filter(|last| {
                last.logical + u32::from(last.length) == logical
                    && last.physical + u64::from(last.length) == physical
                    && last.length < MAX_EXTENT
            });
            let room = MAX_EXTENT - joined.as_ref().map_or(0, |last| last.length);
            let length = room.min(u16::try_from(blocks).unwrap_or(MAX_EXTENT));
            match joined {
                Some(last) => last.length += length,
                None => self.extents.push(Extent { logical, length, physical }),
            }
            logical += u32::from(length);
            physical += u64::from(length);
            blocks -= u64::from(length);
        }
        Ok(())
    }
}
