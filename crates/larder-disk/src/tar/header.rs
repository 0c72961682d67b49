//! The 512 bytes of a header: v7 fields, ustar's prefix, and what GNU put in the prefix's place.

use std::io;

use super::{BLOCK, Entry, EntryKind, Segment, sparse};
use crate::tree::Time;

/// Why a stream is not a tar archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// The stream itself failed: network, decompression or digest.
    #[error(transparent)]
    Read(io::Error),
    /// A header's checksum or a number in it is wrong.
    #[error("invalid tar header")]
    Header,
    /// The stream ends inside an entry.
    #[error("the tar archive ends inside an entry")]
    Truncated,
    /// An extended header that no honest archive has.
    #[error("an extended tar header is longer than 1 MiB")]
    TooLong,
    /// A sparse map that contradicts itself or the data.
    #[error("the map of a sparse file is invalid")]
    Sparse,
    /// An entry of a type that no layer has.
    #[error("tar entries of type {0:?} are not supported")]
    Type(char),
}

/// A header block whose checksum is right.
pub(super) struct Header([u8; BLOCK]);

/// Which fields a header has behind those of v7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    /// Checks the sum of all bytes, with the sum's own place as blanks; some old programs added signed bytes.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, TarError> {
        let header = Self(*block);
        let sum = header.number(148..156)?;
        let bytes = || {
            header.0.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte })
        };
        let unsigned: i64 = bytes().map(i64::from).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        if sum == unsigned || sum == signed { Ok(header) } else { Err(TarError::Header) }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        u64::try_from(self.number(124..136)?).map_err(|_| TarError::Header)
    }

    pub(super) fn entry(&self) -> Result<Entry, TarError> {
        let kind = match self.type_flag() {
            // GNU's sparse files are files.
            b'0' | 0 | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharacterDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'g' => EntryKind::Global,
            other => return Err(TarError::Type(char::from(other))),
        };
        let device =
            matches!(kind, EntryKind::CharacterDevice | EntryKind::BlockDevice) && self.form() != Form::V7;
        Ok(Entry {
            path: self.path(),
            kind,
            link: self.text(157..257).to_vec(),
            mode: self.number(100..108)?,
            uid: self.number(108..116)?,
            gid: self.number(116..124)?,
            mtime: Time { seconds: self.number(136..148)?, nanoseconds: 0 },
            size: self.size()?,
            segments: None,
            xattrs: Vec::new(),
            major: if device { self.number(329..337)? } else { 0 },
            minor: if device { self.number(337..345)? } else { 0 },
        })
    }

    fn form(&self) -> Form {
        match (&self.0[257..263], &self.0[263..265]) {
            (b"ustar\0", _) if &self.0[508..512] == b"tar\0" => Form::Star,
            (b"ustar\0", _) => Form::Ustar,
            (b"ustar ", b" \0") => Form::Gnu,
            _ => Form::V7,
        }
    }

    fn path(&self) -> Vec<u8> {
        let name = self.text(0..100);
        let prefix = match self.form() {
            Form::Ustar => self.text(345..500),
            Form::Star => self.text(345..476),
            // Go before 1.8 wrote a prefix where GNU has two times.
            Form::Gnu if !(self.is_time(345..357) && self.is_time(357..369)) => {
                Some(self.text(345..500)).filter(|prefix| prefix.is_ascii()).unwrap_or_default()
            }
            Form::Gnu | Form::V7 => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn is_time(&self, field: std::ops::Range<usize>) -> bool {
        self.0[field.start] == 0 || self.number(field).is_ok()
    }

    pub(super) fn is_gnu_sparse(&self) -> bool {
        self.type_flag() == b'S'
    }

    /// The first four segments of an old GNU sparse file, and whether more follow; an error where the header is not GNU's.
    pub(super) fn gnu_segments(&self) -> Result<(Vec<Segment>, bool), TarError> {
        if self.form() != Form::Gnu {
            return Err(TarError::Header);
        }
        Ok((sparse::old_gnu(&self.0[386..482])?, self.0[482] != 0))
    }

    /// The size of an old GNU sparse file, holes included.
    pub(super) fn gnu_real_size(&self) -> Result<u64, TarError> {
        u64::try_from(self.number(483..495)?).map_err(|_| TarError::Header)
    }

    fn text(&self, field: std::ops::Range<usize>) -> &[u8] {
        until_nul(&self.0[field])
    }

    fn number(&self, field: std::ops::Range<usize>) -> Result<i64, TarError> {
        parse_number(&self.0[field])
    }
}

/// What stands before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits, or GNU's base-256: two's complement with the first bit set.
pub(super) fn parse_number(field: &[u8]) -> Result<i64, TarError> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => {
            // The flag bit is dropped, and the bit behind it is the sign.
            let sign = if first & 0x40 == 0 { 0_i128 } else { -1 };
            let start = sign << 6 | i128::from(first & 0x3f);
            let value = field[1..].iter().fold(start, |value, byte| value << 8 | i128::from(*byte));
            i64::try_from(value).map_err(|_| TarError::Header)
        }
        _ => parse_octal(field),
    }
}

fn parse_octal(field: &[u8]) -> Result<i64, TarError> {
    let blank = |byte: &u8| matches!(*byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    until_nul(&field[start..end]).iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => {
            value.checked_mul(8).map(|value| value + i64::from(digit - b'0')).ok_or(TarError::Header)
        }
        _ => Err(TarError::Header),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(magic: &[u8], prefix: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[0] = b'n';
        block[257..257 + magic.len()].copy_from_slice(magic);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block
    }

    #[test]
    fn a_prefix_is_where_the_header_can_have_one() {
        let table: [(&[u8], &[u8], &[u8]); 6] = [
            (b"ustar\x0000", b"prefix", b"prefix/n"),
            (b"ustar  \0", b"", b"n"),
            (b"ustar  \0", b"14000000000\x0014000000000", b"n"),
            (b"ustar  \0", b"of/old/go", b"of/old/go/n"),
            (b"ustar  \0", b"not\xffascii", b"n"),
            (b"", b"prefix", b"n"),
        ];
        for (magic, prefix, path) in table {
            let header = Header::parse(&block(magic, prefix)).unwrap();
            assert_eq!(header.path(), path, "{magic:?} {prefix:?}");
        }
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        let table: [(&[u8], i64); 8] = [
            (b"0000644\0", 0o644),
            (b"   644 \0", 0o644),
            (b"\0\0\0\0", 0),
            (b"77777777777 ", 0o77_777_777_777),
            (b"\x80\0\0\0\0\0\0\0\0\0\x10\0", 4096),
            (b"\x80\0\0\0\x02\0\0\0\0\0\0\0", 1 << 57),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
            (b"\xff\xff\xff\xff\xff\xff\xff\0", -256),
        ];
        for (field, value) in table {
            assert_eq!(parse_number(field).unwrap(), value, "{field:?}");
        }
        for field in [&b"9"[..], b"12x", b"-1", b"\x80\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(parse_number(field).is_err(), "{field:?}");
        }
    }
}
