//! The holes of sparse files: nothing of them comes from the stream, but all of them is hashed.

use std::ops::Range;

use super::LayerError;
use crate::ext4::{ContentWriter, OpenFile};
use crate::tar::TarError;

/// Bytes that are hashed before it is asked whether anyone still wants them: about a hundredth of a second, MD5 included. A
/// multiple of every block size, so that a slice ends where a block does.
const SLICE: u64 = 4 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Appends zeros to `file`, which has `range.start` bytes, up to `range.end`; stops where the build has `ended`.
pub(super) fn hole(
    writer: &mut ContentWriter<'_>,
    file: &mut OpenFile,
    hasher: &mut blake3::Hasher,
    range: Range<u64>,
    ended: &dyn Fn() -> bool,
) -> Result<(), LayerError> {
    let mut position = range.start;
    while position < range.end {
        if ended() {
            return Err(TarError::Read(std::io::Error::other("the build was ended")).into());
        }
        let end = range.end.min((position / SLICE + 1) * SLICE);
        hash(hasher, end - position);
        writer.hole(file, end - position)?;
        position = end;
    }
    Ok(())
}

fn hash(hasher: &mut blake3::Hasher, length: u64) {
    let mut left = length;
    while left > 0 {
        let now = left.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..usize::try_from(now).unwrap_or(ZEROS.len())]);
        left -= now;
    }
}
