//! gzip (RFC 1952), several members too, without computing the CRC: SHA-256 of both the blob and what comes out of it prove far
//! more, and the CRC costs a twelfth of a bake.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// The first two bytes of every member.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const FLAG_HEADER_CRC: u8 = 0x02;
const FLAG_EXTRA: u8 = 0x04;
const FLAG_NAME: u8 = 0x08;
const FLAG_COMMENT: u8 = 0x10;
const RESERVED_FLAGS: u8 = 0xe0;
/// A name or comment in a header; nothing has longer ones.
const MAX_HEADER_TEXT: usize = 64 << 10;

/// Decompresses a gzip stream.
pub(super) struct GzipDecoder<R> {
    input: R,
    inflate: Decompress,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At a member's header, or at the end.
    Member,
    /// Within a member, of which so many bytes came out modulo 2^32.
    Body(u32),
    /// Nothing more.
    End,
}

impl<R: BufRead> GzipDecoder<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, inflate: Decompress::new(false), state: State::Member }
    }

    pub(super) fn into_inner(self) -> R {
        self.input
    }

    /// Reads a header; the stream may end before it, and may have padding of zeros there.
    fn member(&mut self) -> io::Result<State> {
        if self.skip_padding()? {
            return Ok(State::End);
        }
        let mut fixed = [0; 10];
        self.input.read_exact(&mut fixed)?;
        let [magic0, magic1, method, flags, ..] = fixed;
        if [magic0, magic1] != MAGIC {
            return Err(invalid("garbage follows the gzip stream"));
        }
        if method != DEFLATE || flags & RESERVED_FLAGS != 0 {
            return Err(invalid("the gzip header is invalid"));
        }
        if flags & FLAG_EXTRA != 0 {
            let mut length = [0; 2];
            self.input.read_exact(&mut length)?;
            self.skip(u64::from(u16::from_le_bytes(length)))?;
        }
        for flag in [FLAG_NAME, FLAG_COMMENT] {
            if flags & flag != 0 {
                self.skip_text()?;
            }
        }
        if flags & FLAG_HEADER_CRC != 0 {
            self.skip(2)?;
        }
        self.inflate.reset(false);
        Ok(State::Body(0))
    }

    /// Whether nothing but zeros is left. Only behind a member may there be any, and some tools pad there.
    fn skip_padding(&mut self) -> io::Result<bool> {
        let first = self.inflate.total_in() == 0;
        loop {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return Ok(!first);
            }
            let zeros = available.iter().take_while(|byte| **byte == 0 && !first).count();
            if zeros == 0 {
                return Ok(false);
            }
            self.input.consume(zeros);
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut Read::by_ref(&mut self.input).take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn skip_text(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        Read::by_ref(&mut self.input).take(MAX_HEADER_TEXT as u64).read_until(0, &mut text)?;
        match text.last() {
            Some(0) => Ok(()),
            _ if text.len() == MAX_HEADER_TEXT => Err(invalid("the gzip header is too long")),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Inflates into `output`; how many bytes came out, and whether the member ended.
    fn body(&mut self, output: &mut [u8]) -> io::Result<(usize, bool)> {
        loop {
            let available = self.input.fill_buf()?;
            let at_end = available.is_empty();
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let flush = if at_end { FlushDecompress::Finish } else { FlushDecompress::None };
            let status = self
                .inflate
                .decompress(available, output, flush)
                .map_err(|_| invalid("the gzip stream is damaged"))?;
            let consumed = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(0);
            let produced = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(0);
            self.input.consume(consumed);
            match status {
                Status::StreamEnd => return Ok((produced, true)),
                _ if produced > 0 => return Ok((produced, false)),
                _ if at_end => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    /// The CRC, which is not looked at, and the length.
    fn trailer(&mut self, length: u32) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.input.read_exact(&mut trailer)?;
        let [.., a, b, c, d] = trailer;
        if u32::from_le_bytes([a, b, c, d]) == length {
            Ok(())
        } else {
            Err(invalid("the gzip stream has another length than it says"))
        }
    }
}

impl<R: BufRead> Read for GzipDecoder<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::End => return Ok(0),
                State::Member => self.state = self.member()?,
                State::Body(before) => {
                    let (produced, ended) = self.body(output)?;
                    #[expect(clippy::cast_possible_truncation, reason = "the length is kept modulo 2^32")]
                    let length = before.wrapping_add(produced as u32);
                    self.state = State::Body(length);
                    if ended {
                        self.trailer(length)?;
                        self.state = State::Member;
                    }
                    if produced > 0 {
                        return Ok(produced);
                    }
                }
            }
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        GzipDecoder::new(bytes).read_to_end(&mut output).map(|_| output)
    }

    /// A stored block, so that the test needs no compressor: empty name, comment, extra field and header CRC as asked.
    fn member(flags: u8, extra: &[u8], content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap();
        let mut bytes = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255];
        bytes.extend(extra);
        bytes.push(1);
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend(content);
        bytes.extend([0; 4]);
        bytes.extend(u32::from(length).to_le_bytes());
        bytes
    }

    #[test]
    fn every_optional_field_is_skipped() {
        let extra = b"\x03\0xyzname\0comment\0\0\0";
        let all = FLAG_EXTRA | FLAG_NAME | FLAG_COMMENT | FLAG_HEADER_CRC;
        assert_eq!(decode(&member(all, extra, b"content")).unwrap(), b"content");
    }

    #[test]
    fn members_and_padding_may_follow_but_nothing_else() {
        let one = member(0, b"", b"one ");
        let two = member(0, b"", b"two");
        assert_eq!(decode(&[one.clone(), two.clone(), vec![0; 100]].concat()).unwrap(), b"one two");
        assert!(decode(&[one.clone(), b"garbage, longer".to_vec()].concat()).is_err());
        assert!(decode(&[one.clone(), two[..5].to_vec()].concat()).is_err());
        assert!(decode(&[]).is_err());
        for cut in 1..one.len() {
            assert!(decode(&one[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_length_or_header_is_an_error() {
        let good = member(0, b"", b"content");
        for at in [2, 3, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(decode(&bad).is_err(), "byte {at}");
        }
    }
}
