//! PAX extended headers: records of `LENGTH KEY=VALUE\n` that override a header's fields.

use std::collections::BTreeMap;

use super::{Entry, Segment, TarError};
use crate::tree::Time;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// The records of one extended header; of several with one key the last.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

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
        let mut records = BTreeMap::new();
        let mut sparse: Vec<&[u8]> = Vec::new();
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or(TarError::Header)?;
            let no_nul_in = |bytes: &[u8]| !bytes.contains(&0);
            let is_text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
            if !no_nul_in(key) || (is_text && !no_nul_in(value)) {
                return Err(TarError::Header);
            }
            // Sparse format 0.0 repeats two keys, alternating; 0.1 has the same in one record.
            let half = match key {
                b"GNU.sparse.offset" => Some(0),
                b"GNU.sparse.numbytes" => Some(1),
                _ => None,
            };
            match half {
                Some(half) if sparse.len() % 2 != half || value.contains(&b',') => {
                    return Err(TarError::Sparse);
                }
                Some(_) => sparse.push(value),
                None => drop(records.insert(key.to_vec(), value.to_vec())),
            }
            text = rest;
        }
        if !sparse.is_empty() {
            records.insert(SPARSE_MAP.to_vec(), sparse.join(&b','));
        }
        Ok(Self(records))
    }

    /// The value of `key`; none too where it is empty.
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
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
        let map = self.get(SPARSE_MAP);
        match (self.get(b"GNU.sparse.major"), self.get(b"GNU.sparse.minor")) {
            (Some(b"1"), Some(b"0")) => return Ok(Some(SparseMap::InData)),
            (Some(b"0"), Some(b"0" | b"1")) => {}
            (None, None) if map.is_some() => {}
            // An unknown format is a plain file, as in Go.
            _ => return Ok(None),
        }
        let numbers = map.into_iter().flat_map(|map| map.split(|byte| *byte == b',')).map(decimal);
        let segments = segments(&numbers.collect::<Result<Vec<_>, _>>()?)?;
        let count = self.get(b"GNU.sparse.numblocks").map(decimal).transpose()?;
        if count.and_then(|count| usize::try_from(count).ok()) != Some(segments.len()) {
            return Err(TarError::Sparse);
        }
        Ok(Some(SparseMap::Here(segments)))
    }

    /// The name and the size that a sparse file has once it is expanded.
    pub(super) fn apply_sparse(&self, entry: &mut Entry) -> Result<(), TarError> {
        if let Some(name) = self.get(b"GNU.sparse.name") {
            entry.path = name.to_vec();
        }
        if let Some(size) = self.get(b"GNU.sparse.size").or_else(|| self.get(b"GNU.sparse.realsize")) {
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

    fn records(pairs: &[(&str, &str)]) -> Result<Records, TarError> {
        let line = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            let digits = (1..4).find(|n| (rest.len() + n).to_string().len() == *n).unwrap();
            format!("{}{rest}", rest.len() + digits)
        };
        Records::parse(pairs.iter().map(line).collect::<String>().as_bytes())
    }

    #[test]
    fn the_last_of_several_records_counts_even_if_it_is_empty() {
        let path = |pairs| records(pairs).unwrap().get(b"path").map(<[u8]>::to_vec);
        assert_eq!(path(&[("path", "a"), ("path", "b")]), Some(b"b".to_vec()));
        assert_eq!(path(&[("path", "a"), ("path", "")]), None);
    }

    #[test]
    fn all_three_sparse_formats_are_known() {
        let expected = vec![Segment { offset: 1, length: 2 }, Segment { offset: 3, length: 4 }];
        let two = ("GNU.sparse.numblocks", "2");
        let (offset, length) = ("GNU.sparse.offset", "GNU.sparse.numbytes");
        let map = |pairs: &[(&str, &str)]| records(pairs).and_then(|records| records.sparse_map());
        for pairs in [
            vec![("GNU.sparse.map", "1,2,3,4"), two],
            vec![two, (offset, "1"), (length, "2"), (offset, "3"), (length, "4")],
        ] {
            assert_eq!(map(&pairs).unwrap(), Some(SparseMap::Here(expected.clone())), "{pairs:?}");
        }
        let version = |minor| [("GNU.sparse.major", "1"), ("GNU.sparse.minor", minor)];
        assert_eq!(map(&version("0")).unwrap(), Some(SparseMap::InData));
        assert_eq!(map(&version("7")).unwrap(), None);
        for pairs in [
            vec![two, ("GNU.sparse.map", "1,2,3")],
            vec![two, ("GNU.sparse.map", "1,2")],
            vec![("GNU.sparse.map", "1,2")],
            vec![two, (length, "1"), (offset, "2")],
            vec![("GNU.sparse.major", "0"), ("GNU.sparse.minor", "1")],
        ] {
            assert!(map(&pairs).is_err(), "{pairs:?}");
        }
    }
}
