//! The aggregator: takes results over gRPC, keeps the latest in memory, and tells of them over HTTP.

mod ledger;
mod negotiate;
mod prometheus;
mod receive;
mod serve;
mod tls;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use super::listen::Listener;
use super::token::BearerToken;
use ledger::SharedLedger;
pub use tls::{TlsError, TlsFiles};

/// A result has some 300 bytes, and about 2 KiB at its worst: this stays well below the 64 MiB that the usual manifests allow.
pub const DEFAULT_MAX_RESULTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);

/// How an aggregator is set up.
#[derive(Clone, Debug)]
pub struct AggregateOptions {
    /// Where it listens, with both ports.
    pub bind: IpAddr,
    /// Where nodes submit their results; 0 for any.
    pub grpc_port: u16,
    /// Where it tells of them; 0 for any.
    pub http_port: u16,
    /// With these, both ports speak TLS only.
    pub tls: Option<TlsFiles>,
    /// With this, both ports want it from everybody; only the probe goes without.
    pub token: Option<BearerToken>,
    /// The most results that are kept; the oldest make room.
    pub max_results: NonZeroUsize,
}

/// Why there is no aggregator.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// A port cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An aggregator that has its ports.
#[derive(Debug)]
pub struct Aggregator {
    grpc: Listener,
    http: Listener,
    token: Option<Arc<BearerToken>>,
    ledger: SharedLedger,
}

impl Aggregator {
    /// Takes both ports; nobody is answered before it runs.
    pub async fn bind(options: AggregateOptions) -> Result<Self, AggregateError> {
        let AggregateOptions { bind, grpc_port, http_port, tls, token, max_results } = options;
        let acceptor = |protocols: &[&str]| tls.as_ref().map(|files| files.acceptor(protocols)).transpose();
        let grpc = Listener::new(listen(bind, grpc_port).await?, acceptor(&["h2"])?);
        let http = Listener::new(listen(bind, http_port).await?, acceptor(&["h2", "http/1.1"])?);
        if token.is_some() && tls.is_none() {
            tracing::warn!("the token is asked for without TLS: whoever listens on the network can read it");
        }
        Ok(Self { grpc, http, token: token.map(Arc::new), ledger: SharedLedger::new(max_results) })
    }

    /// Where nodes submit their results.
    pub fn grpc_address(&self) -> io::Result<SocketAddr> {
        self.grpc.address()
    }

    /// Where it tells of them.
    pub fn http_address(&self) -> io::Result<SocketAddr> {
        self.http.address()
    }

    /// Answers until `stop` is there; then what is under way is brought to its end, for some seconds.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { grpc, http, token, ledger } = self;
        let (stopping, stopped) = tokio::sync::watch::channel(());
        let receive = TowerToHyperService::new(receive::service(ledger.clone(), token.clone()));
        let serve = serve::service(ledger, token);
        let both =
            async { tokio::join!(grpc.serve(receive, stopped.clone()), http.serve(serve, stopped.clone())) };
        let signal = async {
            stop.await;
            drop(stopping);
        };
        tokio::join!(both, signal);
    }
}

/// Listens on `bind`; a machine without IPv6 has no `::`, but means all addresses just as well.
async fn listen(bind: IpAddr, port: u16) -> Result<TcpListener, AggregateError> {
    let address = SocketAddr::new(bind, port);
    let listener = match TcpListener::bind(address).await {
        Err(error) if bind.is_ipv6() && bind.is_unspecified() && is_no_ipv6(&error) => {
            TcpListener::bind(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), port)).await
        }
        bound => bound,
    };
    listener.map_err(|source| AggregateError::Listen { address, source })
}

fn is_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}
