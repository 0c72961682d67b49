//! Decompresses a layer on a thread of its own, while the reader hashes, parses and writes what came before.
//!
//! How a layer is compressed is read from its first bytes: media types are known to lie.

mod gzip;

use std::io::{self, BufRead, Read};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use gzip::GzipDecoder;

/// Bytes handed over at once: what a core's cache holds beside the inflater's window.
const CHUNK: usize = 256 << 10;
/// Chunks between the threads. Memory is `CHUNK` for each, and one more at each end.
const CHUNKS: usize = 4;

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The largest zstd window that is accepted, as a power of two: 128 MiB, zstd's own limit without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The decompressed stream; reading from it gives the thread's error, if there was one.
pub(crate) struct Inflated {
    chunks: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

/// Starts to decompress `input` on a thread of `scope`; the thread ends with the stream, or when the reader is dropped.
pub(crate) fn inflate<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    input: Box<dyn BufRead + Send + 'scope>,
) -> (Inflated, ScopedJoinHandle<'scope, ()>) {
    let (send_chunk, chunks) = bounded(CHUNKS);
    let (spent, reuse) = bounded(CHUNKS + 2);
    let thread = scope.spawn(move || {
        if let Err(error) = pump(input, &send_chunk, &reuse) {
            // A reader that is gone has an error of its own.
            let _dropped = send_chunk.send(Err(error));
        }
    });
    (Inflated { chunks, spent, current: Vec::new(), position: 0 }, thread)
}

fn pump(
    mut input: Box<dyn BufRead + Send + '_>,
    chunks: &Sender<io::Result<Vec<u8>>>,
    reuse: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    // A source hands out at least as many bytes at a time as a magic number has, or has no more.
    let start = input.fill_buf()?;
    if start.starts_with(&gzip::MAGIC) {
        let mut decoder = GzipDecoder::new(input);
        copy(&mut decoder, chunks, reuse)?;
        drain(decoder.into_inner())
    } else if start.starts_with(&ZSTD) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        copy(&mut decoder, chunks, reuse)?;
        drain(decoder.finish())
    } else {
        copy(&mut input, chunks, reuse)
    }
}

fn copy(
    input: &mut impl Read,
    chunks: &Sender<io::Result<Vec<u8>>>,
    reuse: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let mut chunk = reuse.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match input.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunk.truncate(filled);
        if chunk.is_empty() || chunks.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}

/// The source proves the blob's digest at its very end, which a decoder may not have asked for.
fn drain(mut input: impl BufRead) -> io::Result<()> {
    loop {
        let length = input.fill_buf()?.len();
        if length == 0 {
            return Ok(());
        }
        input.consume(length);
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for Inflated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            let next = self.chunks.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            let spent = std::mem::replace(&mut self.current, next);
            // With no room for it, the memory is simply freed.
            let _full = self.spent.try_send(spent);
            self.position = 0;
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

/// `Read` in terms of `BufRead`.
pub(crate) fn read_buffered(input: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let available = input.fill_buf()?;
    let length = available.len().min(buffer.len());
    buffer[..length].copy_from_slice(&available[..length]);
    input.consume(length);
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn inflated(input: Vec<u8>) -> io::Result<Vec<u8>> {
        std::thread::scope(|scope| {
            let (mut reader, _thread) = inflate(scope, Box::new(io::Cursor::new(input)));
            let mut output = Vec::new();
            reader.read_to_end(&mut output).map(|_| output)
        })
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_bytes_say_how_they_are_compressed() {
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        assert_eq!(inflated(bytes.clone()).unwrap(), bytes);
        assert_eq!(inflated(gzip(&bytes)).unwrap(), bytes);
        assert_eq!(inflated(zstd::encode_all(&bytes[..], 1).unwrap()).unwrap(), bytes);
        assert_eq!(inflated([gzip(b"one "), gzip(b"two")].concat()).unwrap(), b"one two");
    }

    #[test]
    fn a_damaged_stream_is_an_error() {
        let mut broken = gzip(&vec![7; 100_000]);
        let middle = broken.len() / 2;
        broken[middle..].fill(0xff);
        assert!(inflated(broken).is_err());
        let whole = gzip(&vec![7; 100_000]);
        assert!(inflated(whole[..whole.len() - 9].to_vec()).is_err());
        assert!(inflated([whole, b"garbage".to_vec()].concat()).is_err());
    }

    #[test]
    fn a_reader_may_stop_early() {
        let bytes = vec![1; 64 * CHUNK];
        std::thread::scope(|scope| {
            let (mut reader, thread) = inflate(scope, Box::new(io::Cursor::new(bytes)));
            assert_eq!(reader.read(&mut [0; 10]).unwrap(), 10);
            drop(reader);
            assert!(thread.join().is_ok());
        });
    }
}
