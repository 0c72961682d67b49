//! PAX extended headers: records of `LENGTH KEY=VALUE\n` that override a header's fields.

use super::{Entry, Segment, TarError};
use crate::tree::Time;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records of one extended header, in their order.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

/// Where the map of a sparse file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SparseMap {
    /// In the records (formats 0.0 and 0.1).
    Here(Vec<Segment>),
    /// In front of the data (format 1.0).
    InData,
}

impl Records {
    pub(super) fn parse(mut text: &[u8]) -> Result<Self, TarError> {
        let mut records = Vec::new();
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or(TarError::Header)?;
            let no_nul_in = |bytes: &[u8]| !bytes.contains(&0);
            let is_text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
            if !no_nul_in(key) || (is_text && !no_nul_in(value)) {
                return Err(TarError::Header);
            }
            records.push((key.to_vec(), value.to_vec()));
            text = rest;
        }
        Ok(Self(records))
    }

    /// The last value of `key`.
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }

    /// Overrides the fields of `entry`; an empty value leaves a field as it is.
    pub(super) fn apply(&self, entry: &mut Entry) -> Result<(), TarError> {
        for (key, value) in self.0.iter().filter(|(key, value)| !value.is_empty() || key.starts_with(XATTR)) {
            match key.as_slice() {
                b"path" => entry.path.clone_from(value),
                b"linkpath" => entry.link.clone_from(value),
                b"uid" => entry.uid = decimal(value)?,
                b"gid" => entry.gid = decimal(value)?,
                b"mtime" => entry.mtime = time(value)?,
                b"size" => entry.size = u64::try_from(decimal(value)?).map_err(|_| TarError::Header)?,
                key => {
                    if let Some(name) = key.strip_prefix(XATTR) {
                        entry.xattrs.push((name.to_vec(), value.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn sparse_map(&self) -> Result<Option<SparseMap>, TarError> {
        match (self.get(b"GNU.sparse.major"), self.get(b"GNU.sparse.minor")) {
            (Some(b"1"), Some(b"0")) => return Ok(Some(SparseMap::InData)),
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
            // An unknown format is a plain file, as in Go.
            _ => return Ok(None),
        }
        if let Some(map) = self.get(b"GNU.sparse.map") {
            let numbers = map.split(|byte| *byte == b',').map(decimal).collect::<Result<Vec<_>, _>>()?;
            return segments(&numbers).map(|segments| Some(SparseMap::Here(segments)));
        }
        // Format 0.0 repeats two keys, alternating.
        let of_map = |key: &[u8]| matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
        let records: Vec<_> = self.0.iter().filter(|(key, _)| of_map(key)).collect();
        if records.is_empty() {
            return Ok(None);
        }
        let in_order =
            records.iter().enumerate().all(|(at, (key, _))| key.ends_with(b"offset") == (at % 2 == 0));
        if !in_order {
            return Err(TarError::Sparse);
        }
        let numbers = records.iter().map(|(_, value)| decimal(value)).collect::<Result<Vec<_>, _>>()?;
        segments(&numbers).map(|segments| Some(SparseMap::Here(segments)))
    }

    /// The name and the size that a sparse file has once it is expanded.
    pub(super) fn apply_sparse(&self, entry: &mut Entry) -> Result<(), TarError> {
        if let Some(name) = self.get(b"GNU.sparse.name") {
            entry.path = name.to_vec();
        }
        if let Some(size) = self.get(b"GNU.sparse.realsize").or_else(|| self.get(b"GNU.sparse.size")) {
            entry.size = u64::try_from(decimal(size)?).map_err(|_| TarError::Sparse)?;
        }
        Ok(())
    }
}

/// Pairs of offset and length.
pub(super) fn segments(numbers: &[i64]) -> Result<Vec<Segment>, TarError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(TarError::Sparse);
    }
    let segment = |[offset, length]: &[i64; 2]| match (u64::try_from(*offset), u64::try_from(*length)) {
        (Ok(offset), Ok(length)) => Ok(Segment { offset, length }),
        _ => Err(TarError::Sparse),
    };
    pairs.iter().map(segment).collect()
}

fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&text[..space]).ok()?).ok()?;
    if length <= space + 1 || length > text.len() || text[length - 1] != b'\n' {
        return None;
    }
    let record = &text[space + 1..length - 1];
    let equals = record.iter().position(|byte| *byte == b'=').filter(|equals| *equals > 0)?;
    Some((&record[..equals], &record[equals + 1..], &text[length..]))
}

pub(super) fn decimal(text: &[u8]) -> Result<i64, TarError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(TarError::Header)
}

/// `[-]SECONDS[.FRACTION]`; more than nine digits of a fraction are cut off.
fn time(text: &[u8]) -> Result<Time, TarError> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(TarError::Header);
    }
    let digits = fraction.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0));
    let nanoseconds = digits.take(9).fold(0, |value, digit| value * 10 + digit);
    // Before 1970 the fraction counts backwards.
    Ok(match whole.first() {
        Some(b'-') if nanoseconds > 0 => {
            Time { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds }
        }
        _ => Time { seconds, nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds_and_may_be_before_1970() {
        let table: [(&[u8], i64, u32); 5] = [
            (b"1700000000", 1_700_000_000, 0),
            (b"1.5", 1, 500_000_000),
            (b"1.1234567899", 1, 123_456_789),
            (b"-1.25", -2, 750_000_000),
            (b"-0.000000001", -1, 999_999_999),
        ];
        for (text, seconds, nanoseconds) in table {
            assert_eq!(time(text).unwrap(), Time { seconds, nanoseconds });
        }
        assert!(time(b"1.x").is_err());
    }

    #[test]
    fn malformed_records_are_refused() {
        for text in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"0 a=b\n",
            b"6 a=b\nx",
            b"5 =b\n",
            b"a=b\n",
            b"6 a\0=\n",
            b"10 path=\0\0\n",
        ] {
            assert!(Records::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Records::parse(b"6 a=b\n7 a==c\n").unwrap().get(b"a"), Some(&b"=c"[..]));
    }

    #[test]
    fn all_three_sparse_formats_are_known() {
        let expected = vec![Segment { offset: 1, length: 2 }, Segment { offset: 3, length: 4 }];
        let map = Records(vec![(b"GNU.sparse.map".to_vec(), b"1,2,3,4".to_vec())]);
        assert_eq!(map.sparse_map().unwrap(), Some(SparseMap::Here(expected.clone())));
        let pairs = ["1", "2", "3", "4"].iter().enumerate().map(|(at, number)| {
            let key = if at % 2 == 0 { "GNU.sparse.offset" } else { "GNU.sparse.numbytes" };
            (key.as_bytes().to_vec(), number.as_bytes().to_vec())
        });
        assert_eq!(Records(pairs.collect()).sparse_map().unwrap(), Some(SparseMap::Here(expected)));
        let one = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")];
        let one = one.map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(Records(one.to_vec()).sparse_map().unwrap(), Some(SparseMap::InData));
    }
}
