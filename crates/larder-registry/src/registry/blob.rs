//! The bytes of one blob in order. A large one is fetched in parts, several at once: one connection to a distant storage
//! brings less than a layer's reader takes in. What is fetched ahead is bounded for each blob and for the whole client.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use larder_core::{Descriptor, Digest};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;

use super::senders::Senders;
use super::span::Span;
use super::{RegistryError, Repository};
use crate::blob::BlobError;

/// Blobs of fewer bytes come over one connection, as one request: with two layers at a time there are two connections
/// anyhow, and a blob of this size is over before more of them have got up to speed.
const ABOVE: u64 = 64 << 20;
/// Bytes of one part: long beside the round trips of its request, and small in memory.
const PART: u64 = 8 << 20;
/// Connections for one blob. Storages give one connection 50 to 100 MB/s; four of them outrun one reader.
const LANES: usize = 4;
/// Parts that all blobs of a client together may hold ahead of their readers: 128 MiB.
const AHEAD: usize = 16;

/// When and how a blob is fetched in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangePolicy {
    /// The smallest blob that is, in bytes.
    pub above: u64,
    /// Bytes of a part.
    pub part: u64,
    /// Parts of one blob at the same time, the one that is being read included.
    pub lanes: usize,
    /// Parts that are not being read yet, of all blobs together; times `part` is the memory that they take.
    pub ahead: usize,
}

/// A blob on its way.
pub(crate) struct BlobStream {
    repository: Repository,
    digest: Digest,
    size: u64,
    policy: RangePolicy,
    senders: Senders,
    received: u64,
    front: Front,
    /// The parts after the front, in order.
    ahead: VecDeque<Lane>,
    /// The first byte that nobody fetches yet.
    unclaimed: u64,
}

/// Where the next bytes come from.
enum Front {
    /// From the server, as they are read.
    Direct(Box<Span>),
    /// From a task that has begun earlier.
    Lane(Lane),
}

/// A part that a task of its own fetches. The queue has no bound of its own: what may come is the part.
struct Lane {
    chunks: mpsc::UnboundedReceiver<Result<Bytes, RegistryError>>,
    task: AbortHandle,
    _permit: OwnedSemaphorePermit,
}

impl Default for RangePolicy {
    fn default() -> Self {
        Self { above: ABOVE, part: PART, lanes: LANES, ahead: AHEAD }
    }
}

impl Repository {
    /// The blob of `descriptor`; nothing is asked for before the first `next`.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> BlobStream {
        let Descriptor { digest, size, .. } = *descriptor;
        let policy = self.itself().shared.ranges;
        let end = if size < policy.above { size } else { policy.part.min(size) };
        let senders = Senders::from(self.trusted_from(&digest));
        BlobStream {
            repository: self.clone(),
            digest,
            size,
            policy,
            received: 0,
            front: Front::Direct(Box::new(Span::new(self, digest, size, 0, end, senders.clone()))),
            senders,
            ahead: VecDeque::new(),
            unclaimed: end,
        }
    }
}

impl BlobStream {
    /// The next bytes; none at the end. An error is final.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            match self.front.next().await {
                Ok(Some(chunk)) => {
                    self.received += chunk.len() as u64;
                    self.look_ahead();
                    return Ok(Some(chunk));
                }
                Ok(None) if !self.turn() => return Ok(None),
                Ok(None) => {}
                Err(RegistryError::Range { .. }) if !self.is_single() => self.join(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins with the parts after the front, once it is known that the server gives parts.
    fn look_ahead(&mut self) {
        if self.is_single() {
            // It sends everything in one answer, and nothing else is under way.
            self.unclaimed = self.size;
        }
        while self.unclaimed < self.size && self.ahead.len() + 1 < self.policy.lanes {
            let permits = Arc::clone(&self.repository.itself().shared.read_ahead);
            let Ok(permit) = permits.try_acquire_owned() else { return };
            let part = self.claim();
            self.ahead.push_back(Lane::start(part, permit));
        }
    }

    /// Goes on to the next part; false where there is none.
    fn turn(&mut self) -> bool {
        self.front = match self.ahead.pop_front() {
            Some(lane) => Front::Lane(lane),
            None if self.unclaimed < self.size => Front::Direct(Box::new(self.claim())),
            None => return false,
        };
        true
    }

    fn claim(&mut self) -> Span {
        let start = self.unclaimed;
        self.unclaimed = start.saturating_add(self.policy.part).min(self.size);
        self.span(start, self.unclaimed)
    }

    /// Fetches all that is left over one connection: not every server that was asked gives parts.
    fn join(&mut self) {
        self.ahead.clear();
        self.unclaimed = self.size;
        self.front = Front::Direct(Box::new(self.span(self.received, self.size)));
    }

    fn span(&self, start: u64, end: u64) -> Span {
        Span::new(&self.repository, self.digest, self.size, start, end, self.senders.clone())
    }

    /// What came is `wrong`: names who sent it; a mirror among them is not asked for this blob again.
    pub(crate) fn blame(&self, wrong: BlobError) -> BlobError {
        let senders = self.senders.all();
        let hosts: Vec<String> = senders.iter().map(|host| self.repository.host(*host).address()).collect();
        let hosts = hosts.join(" and ");
        let last_mirror = senders.into_iter().filter(|host| self.repository.host(*host).is_mirror()).max();
        if let Some(mirror) = last_mirror {
            self.repository.distrust(self.digest, mirror + 1);
            tracing::warn!(hosts, error = %wrong, "a mirror sent wrong bytes, the next host is asked");
        }
        BlobError::Sent { wrong: Box::new(wrong), hosts, elsewhere: last_mirror.is_some() }
    }

    /// Whether the front goes to the blob's end by itself.
    fn is_single(&self) -> bool {
        matches!(&self.front, Front::Direct(span) if span.end() == self.size)
    }
}

impl Front {
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        match self {
            Self::Direct(span) => span.next().await,
            Self::Lane(lane) => lane.chunks.recv().await.transpose(),
        }
    }
}

impl Lane {
    fn start(mut part: Span, permit: OwnedSemaphorePermit) -> Self {
        let (sender, chunks) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(next) = part.next().await.transpose() {
                let last = next.is_err();
                // Nobody listens any more: the blob was dropped.
                if sender.send(next).is_err() || last {
                    return;
                }
            }
        });
        Self { chunks, task: task.abort_handle(), _permit: permit }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A stalled part would live until its timeout.
        self.task.abort();
    }
}
