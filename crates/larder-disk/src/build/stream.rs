//! What a layer's bytes pass through: counted and cancellable on the way in, hashed and limited on the way out.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use larder_core::{ByteSize, DiffId, Digest, Layer};
use sha2::{Digest as _, Sha256};

use super::{Cancel, Reporter};
use crate::inflate::read_buffered;

/// What all layers of a build share.
pub(super) struct Shared<'a> {
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
    /// Some layer failed: the others end.
    pub(super) failed: AtomicBool,
    /// Bytes of blobs that were read.
    pub(super) read: AtomicU64,
}

impl Shared<'_> {
    pub(super) fn ended(&self) -> bool {
        self.cancel.is_cancelled() || self.failed.load(Ordering::Relaxed)
    }
}

/// A blob on its way in: counts bytes for the reporter, and stops when the build is cancelled or another layer failed.
pub(super) struct Watched<'a> {
    pub(super) blob: Box<dyn BufRead + Send + 'a>,
    pub(super) layer: &'a Layer,
    pub(super) shared: &'a Shared<'a>,
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.shared.ended() {
            return Err(io::Error::other("the build was ended"));
        }
        self.blob.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.shared.reporter.read(self.layer, length as u64);
        self.shared.read.fetch_add(length as u64, Ordering::Relaxed);
        self.blob.consume(length);
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// Hashes what passes: the diff ID is over the whole stream, also behind the archive's end. Ends a stream that never does.
pub(super) struct Hashed<R> {
    input: R,
    hasher: Sha256,
    passed: u64,
    limit: u64,
}

impl<R: BufRead> Hashed<R> {
    pub(super) fn new(input: R, limit: u64) -> Self {
        Self { input, hasher: Sha256::new(), passed: 0, limit }
    }

    /// Reads what is left, and returns the diff ID of it all.
    pub(super) fn finish(mut self) -> io::Result<DiffId> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(DiffId(Digest::from_sha256(self.hasher.finalize().into())));
            }
            self.consume(length);
        }
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.passed > self.limit {
            let limit = ByteSize(self.limit);
            let what = format!("the layer inflates to more than {limit} (--max-layer-size)");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        // What is consumed was handed out by the last `fill_buf`, so it is still there.
        if let Ok(available) = self.input.fill_buf() {
            self.hasher.update(&available[..length]);
        }
        self.passed += length as u64;
        self.input.consume(length);
    }
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}
