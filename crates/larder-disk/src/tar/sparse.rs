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

/// The map in front of the data: a count, then pairs, each number on a line; none while `text` does not hold it all.
pub(super) fn parse_in_data(text: &[u8]) -> Result<Option<Vec<Segment>>, TarError> {
    let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
    let mut lines = text[..end].split(|byte| *byte == b'\n');
    let count = pax::decimal(lines.next().unwrap_or_default())?;
    let count = usize::try_from(count).map_err(|_| TarError::Sparse)?.saturating_mul(2);
    let numbers = lines.take(count).map(pax::decimal).collect::<Result<Vec<_>, _>>()?;
    if numbers.len() < count { Ok(None) } else { pax::segments(&numbers).map(Some) }
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

    #[test]
    fn the_map_before_the_data_may_come_in_pieces() {
        assert_eq!(parse_in_data(b"").unwrap(), None);
        assert_eq!(parse_in_data(b"1\n0\n").unwrap(), None);
        let map = vec![Segment { offset: 0, length: 512 }];
        assert_eq!(parse_in_data(b"1\n0\n512\n\0\0").unwrap(), Some(map));
        assert!(parse_in_data(b"x\n").is_err());
    }
}
