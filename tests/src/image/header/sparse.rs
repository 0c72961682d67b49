//! Files with holes: GNU.sparse 1.0 within PAX, and the old GNU header.

use super::{BLOCK, put_number};

/// Old GNU sparse headers hold this many pieces in the header, and this many in each extension block.
const GNU_PIECES: usize = 4;
const GNU_MORE_PIECES: usize = 21;

/// A piece of data and its offset in the file.
type Piece = (u64, Vec<u8>);

/// Offset and length of a piece.
type Extent = (u64, u64);

/// The old GNU header's list of pieces.
pub(super) struct GnuSparse {
    pieces: Vec<Extent>,
    real_size: u64,
}

impl GnuSparse {
    /// The last piece marks the end, so that a hole there counts.
    pub(super) fn of(data: &[Piece], size: u64) -> Self {
        let pieces = data.iter().map(|(offset, bytes)| (*offset, bytes.len() as u64));
        Self { pieces: pieces.chain([(size, 0)]).collect(), real_size: size }
    }

    /// Fills the part of the header where ustar has its prefix.
    pub(super) fn put(&self, block: &mut [u8]) {
        let (first, rest) = self.split();
        put_pieces(&mut block[386..482], first);
        block[482] = u8::from(!rest.is_empty());
        put_number(&mut block[483..495], i128::from(self.real_size), true);
    }

    /// The blocks that follow the header.
    pub(super) fn extensions(&self) -> Vec<u8> {
        let mut blocks = Vec::new();
        let mut chunks = self.split().1.chunks(GNU_MORE_PIECES).peekable();
        while let Some(pieces) = chunks.next() {
            let mut block = vec![0; BLOCK];
            put_pieces(&mut block[..504], pieces);
            block[504] = u8::from(chunks.peek().is_some());
            blocks.extend(block);
        }
        blocks
    }

    fn split(&self) -> (&[Extent], &[Extent]) {
        self.pieces.split_at(self.pieces.len().min(GNU_PIECES))
    }
}

fn put_pieces(field: &mut [u8], pieces: &[Extent]) {
    for (slot, (offset, length)) in field.chunks_mut(24).zip(pieces) {
        put_number(&mut slot[..12], i128::from(*offset), true);
        put_number(&mut slot[12..], i128::from(*length), true);
    }
}

/// The PAX records of a file at `path`, `size` bytes long with its holes.
pub(super) fn records(path: &[u8], size: u64) -> [(Vec<u8>, Vec<u8>); 4] {
    let record = |key: &str, value: &[u8]| (format!("GNU.sparse.{key}").into_bytes(), value.to_vec());
    [
        record("major", b"1"),
        record("minor", b"0"),
        record("name", path),
        record("realsize", size.to_string().as_bytes()),
    ]
}

/// GNU.sparse 1.0 starts the content with its map: numbers in lines, filled up to a block.
pub(super) fn map(data: &[Piece]) -> Vec<u8> {
    let pieces = data.iter().flat_map(|(offset, bytes)| [*offset, bytes.len() as u64]);
    let numbers = std::iter::once(data.len() as u64).chain(pieces);
    let mut map: Vec<u8> = numbers.flat_map(|number| format!("{number}\n").into_bytes()).collect();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// How many bytes of data the archive holds.
pub(super) fn stored(data: &[Piece]) -> u64 {
    data.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}
