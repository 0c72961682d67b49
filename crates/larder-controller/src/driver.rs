//! Drives the passes: watches feed the index, a pass is planned when something changed or its time has come, and its writes are
//! carried out. Only the holder of the lease writes. Holds no rule of what is to be written.

mod endpoint;
mod events;
mod lead;
mod pace;
mod turn;
mod watch;
mod write;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use kube::Client;
use tokio::net::TcpListener;
use tokio::time::sleep_until;

use crate::Rules;
use crate::metrics::Metrics;
use lead::Lead;
use turn::Turn;

/// How a controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it decides.
    pub rules: Rules,
    /// Where it tells of its metrics and health.
    pub metrics_address: SocketAddr,
    /// The namespace of the lease that makes one of several replicas the writer.
    pub lease_namespace: String,
    /// This replica's name in the lease.
    pub identity: String,
}

/// Why there is no controller.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The address for metrics cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A task that should run for ever has ended.
    #[error("the watches of the API server have ended")]
    WatchesEnded,
}

/// A controller that has its address.
#[derive(Debug)]
pub struct Controller {
    options: Options,
    listener: TcpListener,
}

impl Controller {
    /// Takes the address; nothing is written before it runs.
    pub async fn bind(options: Options) -> Result<Self, ControllerError> {
        let address = options.metrics_address;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ControllerError::Listen { address, source })?;
        Ok(Self { options, listener })
    }

    /// Where it tells of its metrics and health.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Keeps caches true until `stop` is there; then the lease is given back.
    pub async fn run(self, client: Client, stop: impl Future<Output = ()>) -> Result<(), ControllerError> {
        let Self { options, listener } = self;
        let (metrics, is_ready) = (Arc::new(Metrics::default()), Arc::new(AtomicBool::new(false)));
        let endpoint = tokio::spawn(endpoint::serve(listener, Arc::clone(&metrics), Arc::clone(&is_ready)));
        let driven = drive(client, options, metrics, &is_ready, stop).await;
        endpoint.abort();
        driven
    }
}

async fn drive(
    client: Client,
    options: Options,
    metrics: Arc<Metrics>,
    is_ready: &AtomicBool,
    stop: impl Future<Output = ()>,
) -> Result<(), ControllerError> {
    let Options { rules, lease_namespace, identity, .. } = options;
    let mut stop = std::pin::pin!(stop);
    let mut lead = tokio::select! {
        () = &mut stop => return Ok(()),
        lead = Lead::join(&client, &lease_namespace, &identity) => lead,
    };
    let mut watches = watch::all(&client);
    let mut turn = Turn::new(client, rules, metrics, &identity);
    let ended = loop {
        is_ready.store(turn.is_complete(), Ordering::Relaxed);
        let due = turn.due();
        tokio::select! {
            () = &mut stop => break Ok(()),
            leads = lead.changed() => turn.lead(leads),
            seen = watches.next() => match seen {
                Some(seen) => turn.see(seen),
                None => break Err(ControllerError::WatchesEnded),
            },
            Some(written) = turn.written() => turn.note(written),
            () = sleep_until(due) => turn.pass(),
        }
    };
    lead.leave().await;
    ended
}
