//! One remote call: its deadline, and its failure in words.

use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, Response, Status};

/// Metadata calls take milliseconds, but wait for containerd's database while it collects garbage on a busy node.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// A synchronous garbage collection removes directories, on slow disks for minutes.
const COLLECT_TIMEOUT: Duration = Duration::from_mins(10);

/// Why containerd did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// None was named, and none is at the usual places.
    #[error("no containerd socket at {tried}: name it with --containerd")]
    NoSocket {
        /// The places, separated by commas.
        tried: String,
    },
    /// More than one of the usual ones runs.
    #[error("several containerds run, at {running}: name the kubelet's with --containerd")]
    SeveralSockets {
        /// Their sockets.
        running: String,
    },
    /// The node's runtime is none that Larder attaches to.
    #[error(
        "there is no containerd, but {found}: images are attached to containerd as root only; use `larder fetch` to prefetch through CRI"
    )]
    OtherRuntime {
        /// Which, and where.
        found: String,
    },
    /// Nobody answers at the socket.
    #[error("cannot connect to containerd at {socket}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the connection said.
        #[source]
        source: tonic::transport::Error,
    },
    /// The namespace cannot be sent.
    #[error("{0:?} is not a containerd namespace")]
    Namespace(String),
    /// containerd took too long.
    #[error("containerd did not {action} within {after:?}")]
    Timeout {
        /// What it was asked to do.
        action: String,
        /// The limit.
        after: Duration,
    },
    /// containerd refused.
    #[error("containerd could not {action}: {message} ({code:?})")]
    Call {
        /// What it was asked to do.
        action: String,
        /// containerd's kind of error.
        code: Code,
        /// containerd's words.
        message: String,
    },
    /// The answer lacks what the protocol promises.
    #[error("containerd's answer to {action} lacks {what}")]
    Incomplete {
        /// What it was asked to do.
        action: String,
        /// The missing part.
        what: &'static str,
    },
}

impl ContainerdError {
    /// Whether containerd said that the object is there already.
    pub(crate) fn is_already_exists(&self) -> bool {
        matches!(self, Self::Call { code: Code::AlreadyExists, .. })
    }

    /// Whether whoever answers does not know the call: it is no containerd.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Call { code: Code::Unimplemented, .. })
    }

    fn refused(action: &str, status: &Status) -> Self {
        Self::Call { action: action.to_owned(), code: status.code(), message: status.message().to_owned() }
    }
}

/// Waits for a call; `action` completes "containerd could not ...".
pub(crate) async fn call<T>(
    action: String,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ContainerdError> {
    within(CALL_TIMEOUT, action, async { Ok(answer.await?.into_inner()) }).await
}

/// Waits for a call that ends with a garbage collection.
pub(super) async fn call_and_collect<T>(
    action: String,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ContainerdError> {
    within(COLLECT_TIMEOUT, action, async { Ok(answer.await?.into_inner()) }).await
}

/// Waits for a whole stream of answers.
pub(super) async fn call_stream<T>(
    action: String,
    stream: impl Future<Output = Result<T, Status>>,
) -> Result<T, ContainerdError> {
    within(CALL_TIMEOUT, action, stream).await
}

async fn within<T>(
    limit: Duration,
    action: String,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, ContainerdError> {
    match tokio::time::timeout(limit, answer).await {
        Err(_) => Err(ContainerdError::Timeout { action, after: limit }),
        Ok(answer) => answer.map_err(|status| ContainerdError::refused(&action, &status)),
    }
}

/// `None` where containerd said that the object does not exist.
pub(crate) fn none_if_absent<T>(answer: Result<T, ContainerdError>) -> Result<Option<T>, ContainerdError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ContainerdError::Call { code: Code::NotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
