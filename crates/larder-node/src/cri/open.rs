//! Finding the runtime at its socket, within a limit: it may be starting just now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_proto::cri::VersionRequest;
use larder_proto::cri::runtime_service_client::RuntimeServiceClient;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::{Cri, CriError};

/// Between two looks at a socket where nobody answered.
const PAUSE: Duration = Duration::from_millis(200);

/// What a runtime calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runtime {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The families of runtimes whose errors are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// containerd up to 1.7.
    Containerd1,
    /// containerd from 2.0.
    Containerd2,
    /// CRI-O.
    CriO,
    /// Any other.
    Other,
}

/// Why there is no runtime to work with.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nobody listens.
    #[error("no container runtime at {socket}")]
    Absent {
        /// The socket.
        socket: PathBuf,
        /// What the connection said.
        #[source]
        source: tonic::transport::Error,
    },
    /// Somebody listens, and says nothing.
    #[error("what listens at {socket} did not answer within {limit:?}")]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// What listens does not speak CRI v1, or not yet.
    #[error("what listens at {socket} does not serve CRI v1")]
    NotCri {
        /// The socket.
        socket: PathBuf,
        /// What it said.
        #[source]
        source: CriError,
    },
}

impl Runtime {
    /// By name and version.
    pub(crate) fn family(&self) -> Family {
        let major = self.version.trim_start_matches('v').split('.').next().and_then(|text| text.parse().ok());
        match (self.name.as_str(), major) {
            ("containerd", Some(0..=1_u32)) => Family::Containerd1,
            ("containerd", _) => Family::Containerd2,
            ("cri-o", _) => Family::CriO,
            _ => Family::Other,
        }
    }

    /// Whether the socket may serve containerd's own services beside CRI.
    pub(crate) fn is_containerd(&self) -> bool {
        matches!(self.family(), Family::Containerd1 | Family::Containerd2)
    }
}

/// Connects to the runtime at `socket`, trying again until `limit` has passed.
pub(crate) async fn open(socket: &Path, limit: Duration) -> Result<(Cri, Runtime), RuntimeError> {
    let deadline = Instant::now() + limit;
    loop {
        match timeout_at(deadline, attempt(socket)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if is_final(&error) || Instant::now() + PAUSE >= deadline => return Err(error),
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => return Err(RuntimeError::Silent { socket: socket.to_owned(), limit }),
        }
    }
}

async fn attempt(socket: &Path) -> Result<(Cri, Runtime), RuntimeError> {
    let absent = |source| RuntimeError::Absent { socket: socket.to_owned(), source };
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).map_err(absent)?;
    let channel = endpoint.connect().await.map_err(absent)?;
    let runtime = version(channel.clone())
        .await
        .map_err(|source| RuntimeError::NotCri { socket: socket.to_owned(), source })?;
    Ok((Cri::new(channel), runtime))
}

async fn version(channel: Channel) -> Result<Runtime, CriError> {
    let request = VersionRequest { version: "v1".to_owned() };
    let answer = RuntimeServiceClient::new(channel).version(request).await?.into_inner();
    Ok(Runtime { name: answer.runtime_name, version: answer.runtime_version })
}

/// A server without the service gets none by waiting.
fn is_final(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::NotCri { source, .. } if source.code == Code::Unimplemented)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_name_and_version() {
        let table = [
            ("containerd", "1.6.20~ds1", Family::Containerd1),
            ("containerd", "v1.7.24", Family::Containerd1),
            ("containerd", "v2.1.9", Family::Containerd2),
            ("containerd", "unknown", Family::Containerd2),
            ("cri-o", "1.33.0", Family::CriO),
            ("docker", "28.0.0", Family::Other),
        ];
        for (name, version, family) in table {
            let runtime = Runtime { name: name.to_owned(), version: version.to_owned() };
            assert_eq!(runtime.family(), family, "{name} {version}");
        }
    }
}
