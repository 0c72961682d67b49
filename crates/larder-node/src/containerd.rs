//! The containerd client: one connection, one namespace, and the calls that attach and detach make. Decides nothing.

mod call;
mod containers;
mod content;
mod images;
mod ingests;
mod leases;
mod plugins;
mod snapshots;
mod socket;
mod version;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

pub use call::ContainerdError;
pub(crate) use call::{call, none_if_absent};
pub(crate) use containers::Container;
pub(crate) use images::ImageRecord;
pub(crate) use leases::Lease;
pub(crate) use plugins::Plugin;
pub(crate) use snapshots::{SNAPSHOTTER, Snapshot, SnapshotKind};
pub(crate) use socket::{Peer, find_socket, peer};
pub(crate) use version::idmaps_snapshots;

/// The namespace that CRI keeps Kubernetes' images in.
pub const KUBERNETES_NAMESPACE: &str = "k8s.io";

/// A local socket answers at once; a daemon that is starting or overloaded may take seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// containerd's own limit on what it sends (`grpc.max_send_message_size`): lists of containers carry whole specs.
const MAX_MESSAGE: usize = 16 << 20;

/// A connection to containerd in one namespace, and under a lease where one was taken.
#[derive(Clone, Debug)]
pub(crate) struct Containerd {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Containerd {
    /// Connects to the socket; everything is then done in `namespace`.
    pub(crate) async fn connect(socket: &Path, namespace: &str) -> Result<Self, ContainerdError> {
        let failed = |source| ContainerdError::Connect { socket: socket.to_owned(), source };
        let header = namespace.parse().map_err(|_| ContainerdError::Namespace(namespace.to_owned()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).map_err(failed)?;
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.map_err(failed)?;
        Ok(Self { channel, namespace: header, lease: None })
    }

    /// The same connection; what it creates from now on is held by `lease`.
    pub(crate) fn under(&self, lease: &Lease) -> Self {
        Self { lease: Some(lease.header.clone()), ..self.clone() }
    }

    /// The connection itself, for CRI, which the same socket serves.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert("containerd-lease", lease.clone());
        }
        request
    }
}

/// How to reach a node's containerd, and where Larder keeps what is its own on the node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// containerd's socket; none looks at the usual places.
    pub socket: Option<PathBuf>,
    /// containerd's root directory; none takes it from containerd. A wrong one is refused.
    pub root: Option<PathBuf>,
    /// The containerd namespace.
    pub namespace: String,
    /// Where disks are mounted and the lock is kept. Links lead there: it must not change while a disk is attached.
    pub state_dir: PathBuf,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            socket: None,
            root: None,
            namespace: KUBERNETES_NAMESPACE.to_owned(),
            state_dir: PathBuf::from("/var/lib/larder"),
        }
    }
}
