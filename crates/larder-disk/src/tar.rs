//! Reads tar streams as Go's `archive/tar` does, which is what containerd unpacks with: v7, ustar, PAX and GNU headers.
//!
//! It knows nothing of layers. Content is handed out in the slices in which it arrives, so that nothing is copied here.

mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead};

use header::Header;
pub(crate) use header::TarError;
use pax::Records;

use crate::tree::Time;

/// Bytes of a header, and the unit that content is padded to.
const BLOCK: usize = 512;
/// The largest extended header, long name or sparse map, as Go limits them.
const MAX_SPECIAL: u64 = 1 << 20;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
    /// A PAX header for all that follow. Its records are ignored, but containerd makes room for its name.
    Global,
}

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// One entry, its extended headers applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// The target of a link.
    pub(crate) link: Vec<u8>,
    /// As in the header; only the low 12 bits mean something.
    pub(crate) mode: i64,
    pub(crate) uid: i64,
    pub(crate) gid: i64,
    pub(crate) mtime: Time,
    /// Of the file, holes included; 0 for what has no content.
    pub(crate) size: u64,
    /// Where the data is in a sparse file; none for a file without holes.
    pub(crate) segments: Option<Vec<Segment>>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) major: i64,
    pub(crate) minor: i64,
}

impl Entry {
    /// Bytes of data; what is not a hole.
    pub(crate) fn data(&self) -> u64 {
        self.segments
            .as_ref()
            .map_or(self.size, |segments| segments.iter().map(|segment| segment.length).sum())
    }
}

/// Reads entries one after the other.
pub(crate) struct TarReader<R> {
    input: R,
    /// Content of the current entry that was not read yet.
    unread: u64,
    /// Zero bytes that follow it.
    padding: u64,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, unread: 0, padding: 0 }
    }

    /// The next entry; none at the archive's end. What was left of the one before is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let (mut records, mut long_name, mut long_link) = (Records::default(), None, None);
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            match header.type_flag() {
                b'x' => records = Records::parse(&self.special(&header)?)?,
                b'g' => return self.global(&header).map(Some),
                b'L' => long_name = Some(header::until_nul(&self.special(&header)?).to_vec()),
                b'K' => long_link = Some(header::until_nul(&self.special(&header)?).to_vec()),
                _ => return self.entry(&header, &records, long_name, long_link).map(Some),
            }
        }
    }

    /// Hands the current entry's data to `sink`, slice by slice, at most `limit` bytes.
    pub(crate) fn data<E: From<TarError>>(
        &mut self,
        limit: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = limit.min(self.unread);
        while left > 0 {
            let available = self.input.fill_buf().map_err(TarError::from)?;
            if available.is_empty() {
                return Err(TarError::Truncated.into());
            }
            let length = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&available[..length])?;
            self.input.consume(length);
            left -= length as u64;
            self.unread -= length as u64;
        }
        Ok(())
    }

    /// The stream behind the archive's end.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    fn entry(
        &mut self,
        header: &Header,
        records: &Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, TarError> {
        let mut entry = header.entry()?;
        records.apply(&mut entry)?;
        if let Some(name) = long_name.filter(|name| !name.is_empty()) {
            entry.path = name;
        }
        if let Some(link) = long_link.filter(|link| !link.is_empty()) {
            entry.link = link;
        }
        // Before ustar, a directory was a file whose name ends in a slash.
        if header.type_flag() == 0 && entry.path.ends_with(b"/") {
            entry.kind = EntryKind::Directory;
        }
        if entry.kind != EntryKind::File {
            entry.size = 0;
        }
        self.expect(entry.size);
        if header.is_gnu_sparse() {
            entry.segments = Some(self.old_gnu_map(header)?);
            entry.size = header.gnu_real_size()?;
        } else if let Some(map) = records.sparse_map()? {
            entry.segments = Some(match map {
                pax::SparseMap::Here(segments) => segments,
                pax::SparseMap::InData => self.map_in_data()?,
            });
            records.apply_sparse(&mut entry)?;
        }
        if let Some(segments) = &entry.segments {
            if entry.kind != EntryKind::File {
                return Err(TarError::Sparse);
            }
            sparse::validate(segments, entry.size, self.unread)?;
        }
        Ok(entry)
    }

    /// An entry without content or attributes; GNU tar gives it an absolute path by default.
    fn global(&mut self, header: &Header) -> Result<Entry, TarError> {
        let mut entry = header.entry()?;
        Records::parse(&self.special(header)?)?.apply(&mut entry)?;
        let start = entry.path.iter().position(|byte| *byte != b'/').unwrap_or(entry.path.len());
        entry.path.drain(..start);
        (entry.size, entry.xattrs) = (0, Vec::new());
        Ok(entry)
    }

    fn expect(&mut self, size: u64) {
        self.unread = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// One header block; none at the end: two blocks of zeros, or nothing more at all.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().any(|byte| *byte != 0) {
            return Header::parse(&block).map(Some);
        }
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => Err(TarError::Header),
            _ => Ok(None),
        }
    }

    /// A whole block; none where the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return if filled == 0 { Ok(None) } else { Err(TarError::Truncated) };
            }
            let length = available.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&available[..length]);
            self.input.consume(length);
            filled += length;
        }
        Ok(Some(block))
    }

    /// The content of an extended header.
    fn special(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > MAX_SPECIAL {
            return Err(TarError::TooLong);
        }
        self.expect(size);
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.data(size, |slice| {
            content.extend_from_slice(slice);
            Ok::<(), TarError>(())
        })?;
        Ok(content)
    }

    /// The sparse map of an old GNU header, and of the blocks that continue it before the data.
    fn old_gnu_map(&mut self, header: &Header) -> Result<Vec<Segment>, TarError> {
        let (mut segments, mut continued) = header.gnu_segments()?;
        while continued {
            let block = self.block()?.ok_or(TarError::Truncated)?;
            let (more, again) = sparse::continuation(&block)?;
            segments.extend(more);
            if segments.len() * 24 > usize::try_from(MAX_SPECIAL).unwrap_or(usize::MAX) {
                return Err(TarError::TooLong);
            }
            continued = again;
        }
        Ok(segments)
    }

    /// The sparse map of GNU's PAX format 1.0: decimal numbers in front of the data, in whole blocks.
    fn map_in_data(&mut self) -> Result<Vec<Segment>, TarError> {
        let mut map = sparse::InData::default();
        while !map.is_complete()? {
            if map.len() as u64 > MAX_SPECIAL {
                return Err(TarError::TooLong);
            }
            if self.unread < BLOCK as u64 {
                return Err(TarError::Truncated);
            }
            self.data(BLOCK as u64, |slice| {
                map.extend(slice);
                Ok::<(), TarError>(())
            })?;
        }
        map.segments()
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        self.data(u64::MAX, |_| Ok::<(), TarError>(()))?;
        // The archive may end before the last padding.
        self.unread = std::mem::take(&mut self.padding);
        match self.data(u64::MAX, |_| Ok::<(), TarError>(())) {
            Err(TarError::Truncated) => {
                self.unread = 0;
                Ok(())
            }
            other => other,
        }
    }
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

#[cfg(test)]
mod tests;
