//! A piece of the disk in memory: files that are read in the order of their places come out of few, large reads.

use std::fs::File;

use super::error::ReadError;
use super::read;

/// Bytes that are read at once: enough that a disk's latency does not count.
const PIECE: u64 = 1 << 20;

/// What was read last.
pub(crate) struct Window {
    start: u64,
    bytes: Vec<u8>,
    piece: usize,
}

impl Window {
    /// A window for many files, one after the other.
    pub(crate) fn wide() -> Self {
        Self::of(PIECE)
    }

    /// A window for one file of `size` bytes.
    pub(crate) fn of(size: u64) -> Self {
        let piece = usize::try_from(size.clamp(1, PIECE)).unwrap_or(1);
        Self { start: 0, bytes: Vec::new(), piece }
    }

    /// Bytes of the disk from `offset` on, at least one; the disk has `size`.
    pub(super) fn at(&mut self, file: &File, offset: u64, size: u64) -> Result<&[u8], ReadError> {
        let within = offset.checked_sub(self.start).filter(|within| *within < self.bytes.len() as u64);
        let within = if let Some(within) = within {
            usize::try_from(within).unwrap_or(0)
        } else {
            let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(self.piece);
            self.bytes.resize(left.clamp(1, self.piece), 0);
            if let Err(error) = read(file, offset, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
            self.start = offset;
            0
        };
        Ok(&self.bytes[within..])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_read_is_not_read_again_and_the_end_is_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut window = Window::of(4);
        assert_eq!(window.at(&file, 2, 10).unwrap(), b"2345");
        assert_eq!(window.at(&file, 4, 10).unwrap(), b"45");
        assert_eq!(window.at(&file, 8, 10).unwrap(), b"89");
        assert_eq!(window.at(&file, 3, 10).unwrap(), b"3456");
        assert!(window.at(&file, 12, 20).is_err());
        assert_eq!(window.at(&file, 3, 10).unwrap(), b"3456");
    }
}
