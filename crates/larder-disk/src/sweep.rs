//! Reads every byte of a disk that is in use, once and in order, past the page cache: a network disk that fetches its blocks
//! when they are first read has them then.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::Errno;

use crate::ext4::read::{FileSystem, ReadError};

/// Bytes of one read: the kernel splits it into requests that the disk serves at the same time, which is what a disk with
/// a long way to its blocks needs.
const CHUNK: usize = 4 << 20;
/// What `O_DIRECT` wants addresses in memory to be a multiple of, on every disk.
const ALIGNMENT: usize = 4096;

/// Why a disk cannot be read through.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Its file system cannot be understood.
    #[error(transparent)]
    FileSystem(#[from] ReadError),
    /// It cannot be opened past the page cache.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// A place of it cannot be read.
    #[error("cannot read at byte {offset}")]
    Read {
        /// From the beginning of the disk.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A disk that is being read through.
pub struct Sweep {
    file_system: FileSystem,
    file: File,
    /// Whether reads leave the page cache alone by themselves.
    direct: bool,
    memory: Vec<u8>,
    /// The next group whose bitmap is to be read.
    group: u64,
    pending: VecDeque<Range<u64>>,
    total: u64,
}

impl Sweep {
    /// Opens a disk image or a block device, and adds up what is in use.
    pub fn open(path: &Path) -> Result<Self, SweepError> {
        let file_system = FileSystem::open(path)?;
        let mut total = 0;
        for group in 0..file_system.groups() {
            total += file_system.allocated(group)?.iter().map(|run| run.end - run.start).sum::<u64>();
        }
        let (file, direct) = open(path).map_err(SweepError::Open)?;
        let memory = vec![0; CHUNK + ALIGNMENT];
        Ok(Self { file_system, file, direct, memory, group: 0, pending: VecDeque::new(), total })
    }

    /// Bytes in use.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Reads the next piece, and says how long it was; none at the end.
    pub fn step(&mut self) -> Result<Option<usize>, SweepError> {
        let Some(piece) = self.next()? else { return Ok(None) };
        let length = usize::try_from(piece.end - piece.start).unwrap_or(CHUNK).min(CHUNK);
        let start = self.memory.as_ptr().align_offset(ALIGNMENT);
        let failed = |source| SweepError::Read { offset: piece.start, source };
        self.file.read_exact_at(&mut self.memory[start..start + length], piece.start).map_err(failed)?;
        if !self.direct {
            let length = std::num::NonZeroU64::new(length as u64);
            fadvise(&self.file, piece.start, length, Advice::DontNeed)
                .map_err(|errno| failed(errno.into()))?;
        }
        Ok(Some(length))
    }

    fn next(&mut self) -> Result<Option<Range<u64>>, SweepError> {
        while self.pending.is_empty() && self.group < self.file_system.groups() {
            self.pending = self.file_system.allocated(self.group)?.into();
            self.group += 1;
        }
        let Some(run) = self.pending.front_mut() else { return Ok(None) };
        let piece = run.start..run.end.min(run.start + CHUNK as u64);
        run.start = piece.end;
        if run.is_empty() {
            self.pending.pop_front();
        }
        Ok(Some(piece))
    }
}

/// Past the page cache where the file system under a disk image allows it.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let direct = File::options().read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
    match direct {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok((File::open(path)?, false)),
        opened => Ok((opened?, true)),
    }
}
