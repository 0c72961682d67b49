//! Proves that bytes which arrive piece by piece are those of a descriptor. Knows no source and no channel.

use std::io;

use larder_core::{Descriptor, Digest};
use sha2::{Digest as _, Sha256};

use crate::registry::RegistryError;

/// Why a blob could not be had, or is not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Its bytes are not those of the digest.
    #[error("blob {digest}: the content has digest {found}")]
    Digest {
        /// As asked for.
        digest: Digest,
        /// Of the bytes that came.
        found: Digest,
    },
    /// It ended early.
    #[error("blob {digest}: the content ends after {found} of {expected} bytes")]
    Short {
        /// Of the blob.
        digest: Digest,
        /// As its manifest says, in bytes.
        expected: u64,
        /// That came, in bytes.
        found: u64,
    },
    /// It goes on where it should end.
    #[error("blob {digest}: the content has more than {expected} bytes")]
    Long {
        /// Of the blob.
        digest: Digest,
        /// As its manifest says, in bytes.
        expected: u64,
    },
    /// A registry or its mirrors sent bytes that are not the blob's.
    #[error("{wrong}, as {hosts} sent it")]
    Sent {
        /// How they are wrong.
        wrong: Box<BlobError>,
        /// The hosts that sent them.
        hosts: String,
        /// Whether other hosts are asked when the blob is opened again.
        elsewhere: bool,
    },
    /// The registry did not give it.
    #[error("cannot fetch blob {digest}")]
    Fetch {
        /// Of the blob.
        digest: Digest,
        /// What went wrong on the way.
        #[source]
        source: RegistryError,
    },
    /// The file that holds it cannot be read.
    #[error("cannot read blob {digest} from {place}")]
    Read {
        /// Of the blob.
        digest: Digest,
        /// The file.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The source has no such blob.
    #[error("no blob {digest} in {place}")]
    Missing {
        /// Of the blob.
        digest: Digest,
        /// The file.
        place: String,
    },
    /// The program is ending, or an earlier read has failed already.
    #[error("the fetch of blob {0} has ended before the blob did")]
    Ended(Digest),
}

impl BlobError {
    /// Whether opening the blob again, after a read failed with `error`, asks other hosts for it.
    pub fn is_elsewhere(error: &io::Error) -> bool {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        matches!(inner, Some(Self::Sent { elsewhere: true, .. }))
    }
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        let kind = match &error {
            BlobError::Digest { .. }
            | BlobError::Short { .. }
            | BlobError::Long { .. }
            | BlobError::Sent { .. } => io::ErrorKind::InvalidData,
            BlobError::Missing { .. } => io::ErrorKind::NotFound,
            BlobError::Read { source, .. } => source.kind(),
            BlobError::Fetch { .. } | BlobError::Ended(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The size and digest of what has come so far, against those of a descriptor.
pub(crate) struct Proof {
    digest: Digest,
    expected: u64,
    seen: u64,
    hasher: Sha256,
}

impl Proof {
    /// Expects the content of `descriptor`.
    pub(crate) fn of(descriptor: &Descriptor) -> Self {
        Self { digest: descriptor.digest, expected: descriptor.size, seen: 0, hasher: Sha256::new() }
    }

    /// Takes the next bytes in; fails as soon as they are too many.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.seen += bytes.len() as u64;
        if self.seen > self.expected {
            return Err(BlobError::Long { digest: self.digest, expected: self.expected });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Whether everything was there, and nothing else.
    pub(crate) fn finish(self) -> Result<(), BlobError> {
        let Self { digest, expected, seen, hasher } = self;
        if seen < expected {
            return Err(BlobError::Short { digest, expected, found: seen });
        }
        let found = Digest::from_sha256(hasher.finalize().into());
        if found == digest { Ok(()) } else { Err(BlobError::Digest { digest, found }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prove(pieces: &[&[u8]]) -> Result<(), BlobError> {
        let descriptor = Descriptor { media_type: String::new(), digest: Digest::of(b"abcd"), size: 4 };
        let mut proof = Proof::of(&descriptor);
        pieces.iter().try_for_each(|piece| proof.update(piece))?;
        proof.finish()
    }

    #[test]
    fn only_the_very_bytes_are_proven() {
        assert!(prove(&[b"ab", b"", b"cd"]).is_ok());
        assert!(matches!(prove(&[b"ab"]), Err(BlobError::Short { found: 2, expected: 4, .. })));
        assert!(matches!(prove(&[b"abcd", b"e"]), Err(BlobError::Long { expected: 4, .. })));
        assert!(matches!(prove(&[b"abcX"]), Err(BlobError::Digest { .. })));
    }
}
