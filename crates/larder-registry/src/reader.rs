//! The hand-over from a fetch in the background to a thread that reads: a bounded channel and a `BufRead` over it.
//! Every source is read through here, so none of their blobs escapes the proof.
//!
//! The digest is computed on the fetching side, chunk by chunk. The reading thread inflates and is what a layer waits
//! for; hashing beside it lets one large layer use two cores. A chunk from the network hashes in well under a
//! millisecond, so a tokio worker is never held for long; files are read and hashed on tokio's blocking threads.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use larder_core::{Descriptor, Digest};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::blob::{BlobError, Proof};
use crate::registry::BlobStream;

/// Chunks that may wait for the reader. The network's are up to 400 KiB, a file's [`FILE_CHUNK`], so at most about
/// 12 MiB a blob: some 20 ms of inflating, longer than a thread waits for its turn.
const QUEUE: usize = 32;
/// Bytes that are read from a file at once: few system calls, and still small beside the processor's cache.
const FILE_CHUNK: u64 = 256 << 10;

enum Message {
    Chunk(Bytes),
    /// Everything was sent, and it was what the digest says.
    Proven,
    Failed(BlobError),
}

/// Why a fetch sends nothing more.
enum Stop {
    /// The reader was dropped.
    Unwanted,
    Failed(BlobError),
}

impl From<BlobError> for Stop {
    fn from(error: BlobError) -> Self {
        Self::Failed(error)
    }
}

/// A part of a file that holds one blob.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// The open file.
    pub(crate) file: Arc<File>,
    /// Its name, for messages.
    pub(crate) place: String,
    /// Where the blob begins, in bytes.
    pub(crate) offset: u64,
    /// How long it is, in bytes.
    pub(crate) length: u64,
}

/// Reads one blob, in chunks as they come; ends only after its size and digest were proven.
pub(crate) struct BlobReader {
    digest: Digest,
    messages: mpsc::Receiver<Message>,
    chunk: Bytes,
    state: State,
    fetch: AbortHandle,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    Proven,
    Failed,
}

impl BlobReader {
    /// Reads from a registry.
    pub(crate) fn over_stream(runtime: &Handle, descriptor: &Descriptor, stream: BlobStream) -> Self {
        let (sender, messages) = mpsc::channel(QUEUE);
        let proof = Proof::of(descriptor);
        let digest = descriptor.digest;
        let task = runtime.spawn(async move {
            let outcome = pump_stream(stream, proof, digest, &sender).await;
            if let Some(last) = last_message(outcome) {
                // A reader that is gone by now wants no verdict.
                let _ = sender.send(last).await;
            }
        });
        Self::new(digest, messages, task.abort_handle())
    }

    /// Reads from a file.
    pub(crate) fn over_file(runtime: &Handle, descriptor: &Descriptor, extent: Extent) -> Self {
        let (sender, messages) = mpsc::channel(QUEUE);
        let proof = Proof::of(descriptor);
        let digest = descriptor.digest;
        let task = runtime.spawn_blocking(move || {
            let outcome = pump_file(&extent, proof, digest, &sender);
            if let Some(last) = last_message(outcome) {
                // As above.
                let _ = sender.blocking_send(last);
            }
        });
        Self::new(digest, messages, task.abort_handle())
    }

    fn new(digest: Digest, messages: mpsc::Receiver<Message>, fetch: AbortHandle) -> Self {
        Self { digest, messages, chunk: Bytes::new(), state: State::Open, fetch }
    }

    /// Takes the next message in; the chunk stays empty at the proven end.
    fn advance(&mut self) -> io::Result<()> {
        match self.messages.blocking_recv() {
            Some(Message::Chunk(chunk)) => self.chunk = chunk,
            Some(Message::Proven) => self.state = State::Proven,
            Some(Message::Failed(error)) => return self.fail(error),
            None => return self.fail(BlobError::Ended(self.digest)),
        }
        Ok(())
    }

    fn fail(&mut self, error: BlobError) -> io::Result<()> {
        self.state = State::Failed;
        Err(error.into())
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() {
            match self.state {
                State::Open => self.advance()?,
                State::Proven => break,
                State::Failed => return Err(BlobError::Ended(self.digest).into()),
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl Drop for BlobReader {
    fn drop(&mut self) {
        // Without this a stalled fetch would live until its timeout.
        self.fetch.abort();
    }
}

async fn pump_stream(
    mut stream: BlobStream,
    mut proof: Proof,
    digest: Digest,
    sender: &mpsc::Sender<Message>,
) -> Result<(), Stop> {
    let failed = |source| BlobError::Fetch { digest, source };
    while let Some(chunk) = stream.next().await.map_err(failed)? {
        proof.update(&chunk).map_err(|wrong| stream.blame(wrong))?;
        sender.send(Message::Chunk(chunk)).await.map_err(|_| Stop::Unwanted)?;
    }
    Ok(proof.finish().map_err(|wrong| stream.blame(wrong))?)
}

fn pump_file(
    extent: &Extent,
    mut proof: Proof,
    digest: Digest,
    sender: &mpsc::Sender<Message>,
) -> Result<(), Stop> {
    let failed = |source| BlobError::Read { digest, place: extent.place.clone(), source };
    for chunk in extent.chunks() {
        let chunk = chunk.map_err(failed)?;
        proof.update(&chunk)?;
        sender.blocking_send(Message::Chunk(chunk)).map_err(|_| Stop::Unwanted)?;
    }
    Ok(proof.finish()?)
}

fn last_message(outcome: Result<(), Stop>) -> Option<Message> {
    match outcome {
        Ok(()) => Some(Message::Proven),
        Err(Stop::Failed(error)) => Some(Message::Failed(error)),
        Err(Stop::Unwanted) => None,
    }
}

impl Extent {
    /// The bytes, in order; an error where the file ends early.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = io::Result<Bytes>> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let wanted = FILE_CHUNK.min(self.length - done);
            (wanted > 0).then(|| {
                let chunk = self.read(self.offset + done, wanted)?;
                done += chunk.len() as u64;
                Ok(chunk)
            })
        })
    }

    fn read(&self, position: u64, wanted: u64) -> io::Result<Bytes> {
        let mut buffer = vec![0; usize::try_from(wanted).map_err(io::Error::other)?];
        let length = loop {
            match self.file.read_at(&mut buffer, position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(length);
        Ok(buffer.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn reader(runtime: &Handle, content: &[u8], digest: Digest) -> BlobReader {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(content).unwrap();
        file.write_all(b"after").unwrap();
        let length = content.len() as u64;
        let descriptor = Descriptor { media_type: String::new(), digest, size: length };
        let extent = Extent { file: Arc::new(file), place: "a file".to_owned(), offset: 6, length };
        BlobReader::over_file(runtime, &descriptor, extent)
    }

    #[test]
    fn a_part_of_a_file_is_read_whole_and_proven() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut seen = Vec::new();
        reader(runtime.handle(), &content, Digest::of(&content)).read_to_end(&mut seen).unwrap();
        assert!(seen == content);
    }

    #[test]
    fn a_wrong_digest_is_an_error_instead_of_the_end_and_stays_one() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let wanted = Digest::of(b"other");
        let mut reader = reader(runtime.handle(), b"content", wanted);
        let mut seen = Vec::new();
        let error = reader.read_to_end(&mut seen).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let source = error.get_ref().unwrap().downcast_ref::<BlobError>().unwrap();
        assert!(matches!(source, BlobError::Digest { digest, .. } if *digest == wanted));
        assert_eq!(seen, b"content");
        assert!(reader.read(&mut [0]).is_err());
    }

    #[test]
    fn a_fetch_that_dies_with_its_runtime_is_no_end() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let content = vec![7; 64 << 20];
        let mut reader = reader(runtime.handle(), &content, Digest::of(&content));
        reader.messages.close();
        runtime.shutdown_background();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
