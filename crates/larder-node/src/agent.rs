//! The agent of a node: holds what the node's `NodeImageSet` wants in its runtime, and says in the set's status what the runtime
//! says. Decisions (`state`, `decide`, `status`, `publish`, `purge`) are pure; `desk` speaks with the API server, `session`
//! with the runtime, both in one task, which owns the state. Pulling is `fetch`'s.

mod decide;
mod desk;
mod ear;
mod metrics;
mod pin;
mod publish;
mod purge;
mod record;
mod secrets;
mod serve;
mod session;
mod set;
mod spec;
mod state;
mod status;
mod tasks;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::fetch::{FetchError, Limits, MinFree};
use crate::kubernetes::{Cluster, SetupError};
use crate::metrics::listen::Listener;
use crate::pull_secret::SecretReader;
use desk::Desk;
use ear::Ear;
use metrics::Metrics;
pub use secrets::SecretCredentials;
use secrets::SetRegistries;
use serve::Server;

/// For answers under way when the end comes: Kubernetes kills after 30 s, and upgrades wait for every node.
const GRACE: Duration = Duration::from_secs(2);

/// How an agent works.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// CRI's socket.
    pub socket: PathBuf,
    /// This node's name, which is its set's, too.
    pub node: String,
    /// For each attempt and pause.
    pub limits: Limits,
    /// Images that are pulled at the same time.
    pub max_parallel: NonZeroUsize,
    /// A fleet's nodes begin to pull what is new within it.
    pub start_spread: Duration,
    /// The disk floor.
    pub min_free: MinFree,
    /// Whether to refuse to work where the floor cannot be watched.
    pub insist_on_floor: bool,
    /// The part of the image file system in use, in hundredths, from which on removed images are not pulled again.
    pub low_threshold: u8,
    /// How often the status confirms what did not change.
    pub verify_every: Duration,
    /// Where metrics and probes are served.
    pub metrics: SocketAddr,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is not known how the API server is reached.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There is no API server.
    #[error("there is no Kubernetes API: this is no pod of a cluster, and KUBECONFIG is not set")]
    NoCluster,
    /// The port cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A disk floor was asked for, and it cannot be kept.
    #[error(transparent)]
    Floor(#[from] FetchError),
}

/// Works until `stop` is there; pulls under way are then the runtime's to end or to go on with. Must be called in a tokio runtime.
pub async fn agent(
    options: &AgentOptions,
    registries: &impl SecretCredentials,
    stop: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let address = options.metrics;
    let listener =
        TcpListener::bind(address).await.map_err(|source| AgentError::Listen { address, source })?;
    let cluster = Cluster::from_environment().await?.ok_or(AgentError::NoCluster)?;
    let metrics = Arc::new(Metrics::default());
    let (stopping, stopped) = tokio::sync::watch::channel(());
    let mut serving = pin!(Listener::new(listener, None).serve(Server(Arc::clone(&metrics)), stopped));
    let ear = Ear::new(Arc::clone(&metrics));
    let desk = Desk::new(cluster.client.clone(), options, Arc::clone(&metrics));
    let registries = SetRegistries::new(registries, SecretReader::of(cluster));
    let work = async {
        tokio::select! {
            worked = session::work(desk, options, &registries, &ear) => worked,
            () = stop => Ok(()),
        }
    };
    let worked = tokio::select! {
        worked = work => worked,
        () = &mut serving => Ok(()),
    };
    drop(stopping);
    // Whoever still reads has had its time.
    let _ = timeout(GRACE, serving).await;
    worked
}
