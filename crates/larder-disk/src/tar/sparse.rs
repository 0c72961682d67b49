//! Maps of sparse files: GNU's old format in headers, and the numbers in front of the data of PAX format 1.0.

use super::header::parse_number;
use super::{BLOCK, Segment, TarError, pax};

/// Segments in fields of 12 bytes each; an empty one ends the list.
pub(super) fn old_gnu(fields: &[u8]) -> Result<Vec<Segment>, TarError> {
    let (pairs, _) = fields.as_chunks::<24>();
    let used = pairs.iter().take_while(|pair| pair[0] != 0);
    let numbers = used.flat_map(|pair| [parse_number(&pair[..12]), parse_number(&pair[12..])]);
    pax::segments(&numbers.collect::<Result<Vec<_>, _>>()?)
}

/// A block that continues an old map: 21 segments, and whether another block follows.
pub(super) fn continuation(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool), TarError> {
    Ok((old_gnu(&block[..504])?, block[504] != 0))
}

/// The map in front of the data, which arrives in blocks: a count, then pairs, each number on a line.
#[derive(Debug, Default)]
pub(super) struct InData {
    text: Vec<u8>,
    lines: usize,
    /// Lines of the whole map, once the first one is there.
    wanted: Option<usize>,
}

impl InData {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.lines += bytes.split(|byte| *byte == b'\n').count() - 1;
        self.text.extend_from_slice(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn is_complete(&mut self) -> Result<bool, TarError> {
        if self.wanted.is_none() && self.lines > 0 {
            let count = self.numbers().next().unwrap_or(Err(TarError::Sparse))?;
            let count = usize::try_from(count).map_err(|_| TarError::Sparse)?;
            self.wanted = Some(count.saturating_mul(2).saturating_add(1));
        }
        Ok(self.wanted.is_some_and(|wanted| self.lines >= wanted))
    }

    pub(super) fn segments(&self) -> Result<Vec<Segment>, TarError> {
        let numbers = self.numbers().take(self.wanted.unwrap_or(0)).skip(1);
        pax::segments(&numbers.collect::<Result<Vec<_>, _>>()?)
    }

    fn numbers(&self) -> impl Iterator<Item = Result<i64, TarError>> {
        self.text.split(|byte| *byte == b'\n').map(pax::decimal)
    }
}

/// Segments are in order, within the file, and hold as many bytes as the archive has.
pub(super) fn validate(segments: &[Segment], size: u64, data: u64) -> Result<(), TarError> {
    let mut end = 0_u64;
    let mut total = 0_u64;
    for segment in segments {
        let next = segment.offset.checked_add(segment.length).ok_or(TarError::Sparse)?;
        if segment.offset < end || next > size {
            return Err(TarError::Sparse);
        }
        end = next;
        total += segment.length;
    }
    if total == data { Ok(()) } else { Err(TarError::Sparse) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_fit_its_file() {
        let segment = |offset, length| Segment { offset, length };
        assert!(validate(&[segment(0, 2), segment(5, 5)], 10, 7).is_ok());
        assert!(validate(&[], 1 << 40, 0).is_ok());
        for (segments, data) in [
            (vec![segment(5, 1), segment(0, 1)], 2),
            (vec![segment(0, 3), segment(2, 1)], 4),
            (vec![segment(8, 3)], 3),
            (vec![segment(u64::MAX, 2)], 2),
            (vec![segment(0, 2)], 3),
        ] {
            assert!(validate(&segments, 10, data).is_err(), "{segments:?}");
        }
    }

    fn in_data(pieces: &[&str]) -> Result<Option<Vec<Segment>>, TarError> {
        let mut map = InData::default();
        for piece in pieces {
            map.extend(piece.as_bytes());
            if map.is_complete()? {
                return map.segments().map(Some);
            }
        }
        Ok(None)
    }

    #[test]
    fn the_map_before_the_data_may_come_in_pieces() {
        let map = vec![Segment { offset: 0, length: 512 }];
        assert_eq!(in_data(&["1\n0\n512\n\0\0"]).unwrap(), Some(map.clone()));
        assert_eq!(in_data(&["", "1", "\n0\n5", "12\n\0"]).unwrap(), Some(map));
        assert_eq!(in_data(&["1\n0\n512"]).unwrap(), None);
        assert_eq!(in_data(&["9223372036854775807\n1\n"]).unwrap(), None);
        for text in ["x\n", "-1\n", "1\nx\n0\n", "\n"] {
            assert!(in_data(&[text]).is_err(), "{text:?}");
        }
    }
}
