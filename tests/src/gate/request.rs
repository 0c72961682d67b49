//! Telling gRPC requests of one kind from those of another, as far as that needs reading their headers (RFC 7541).

/// In the static table: `:path`, of which a request's literal value follows.
const PATH: u8 = 4;
/// The bits that say how a header field is written (RFC 7541, section 6): in a table with its value, or with its name alone.
const INDEXED: u8 = 0x80;
const INCREMENTAL: u8 = 0x40;
const SIZE_UPDATE: u8 = 0x20;
/// The length of a short text, below the bit that says whether it is Huffman-coded.
const LENGTH: u8 = 0x7f;

/// A method of a service. Its name stays as it is coded, since only whether two are equal is of interest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(Vec<u8>);

impl Kind {
    /// Of the request with this block of header fields; none where it is not written as the h2 crate does: few short fields
    /// before the path, whose value is not kept in the table.
    pub(super) fn of(block: &[u8]) -> Option<Self> {
        let (&first, rest) = block.split_first()?;
        let name = match first {
            first if first & INDEXED != 0 => return Self::of(rest),
            first if first & INCREMENTAL != 0 => first & !INCREMENTAL,
            first if first & SIZE_UPDATE != 0 => return Self::of(rest),
            first => first & 0x0f,
        };
        let (&length, rest) = rest.split_first()?;
        let length = usize::from(length & LENGTH);
        let value = rest.get(..length)?;
        if name == PATH { Some(Self(value.to_owned())) } else { Self::of(&rest[length..]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_behind_what_is_before_it() {
        // POST, http, an authority that is new to the table, the path.
        let first = [&[0x83, 0x86, 0x41, 2, b'h', b'h', 0x04, 0x83, 1, 2, 3, 0x5f, 1, b'x'][..]].concat();
        // The same with the authority from the table, and another path.
        let second = [0x83, 0x86, 0xbe, 0x04, 0x82, 7, 8];
        assert_eq!(Kind::of(&first), Some(Kind(vec![1, 2, 3])));
        assert_eq!(Kind::of(&second), Some(Kind(vec![7, 8])));
        assert_eq!(Kind::of(&[0x83, 0x86]), None);
        assert_eq!(Kind::of(&[0x83, 0x04, 0x85, 1]), None);
    }
}
