//! What a layer's bytes pass through: counted and cancellable on the way in, hashed and limited on the way out.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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

    /// A layer begins anew, of which `bytes` had been read.
    pub(super) fn restart(&self, layer: &Layer, bytes: u64) {
        self.reporter.restarted(layer, bytes);
        self.read.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is left of a blob when its reader has gone.
#[derive(Default)]
pub(super) struct Rest<'a> {
    /// The blob, of which there may be more.
    pub(super) blob: Option<Box<dyn BufRead + Send + 'a>>,
    /// Why the blob could not be read on.
    pub(super) error: Option<io::Error>,
    /// Bytes that were read of it.
    pub(super) taken: u64,
}

/// A blob on its way in: counts bytes for the reporter, and stops when the build is cancelled or another layer failed.
pub(super) struct Watched<'r, 'a> {
    layer: &'a Layer,
    shared: &'a Shared<'a>,
    read: Rest<'a>,
    rest: &'r Mutex<Rest<'a>>,
}

impl<'r, 'a> Watched<'r, 'a> {
    /// Leaves what it does not read in `rest`.
    pub(super) fn new(
        blob: Box<dyn BufRead + Send + 'a>,
        layer: &'a Layer,
        shared: &'a Shared<'a>,
        rest: &'r Mutex<Rest<'a>>,
    ) -> Self {
        Self { layer, shared, read: Rest { blob: Some(blob), error: None, taken: 0 }, rest }
    }
}

impl BufRead for Watched<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.shared.ended() {
            return Err(io::Error::other("the build was ended"));
        }
        let Rest { blob: Some(blob), error, .. } = &mut self.read else { return Ok(&[]) };
        blob.fill_buf().map_err(|cause| {
            // Not every decoder hands an error on as it is.
            let passed_on = io::Error::from(cause.kind());
            error.get_or_insert(cause);
            passed_on
        })
    }

    fn consume(&mut self, length: usize) {
        self.shared.reporter.read(self.layer, length as u64);
        self.shared.read.fetch_add(length as u64, Ordering::Relaxed);
        self.read.taken += length as u64;
        if let Some(blob) = &mut self.read.blob {
            blob.consume(length);
        }
    }
}

impl Drop for Watched<'_, '_> {
    fn drop(&mut self) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut self.read);
    }
}

impl Read for Watched<'_, '_> {
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
