//! One port: takes connections, wraps them in TLS where that is wanted, and answers their requests. Bounded in number and in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections at a time; further ones wait until one ends. Each may hold some 100 KiB of buffers.
const MAX_CONNECTIONS: usize = 128;
/// Requests at a time in one connection of HTTP/2.
const MAX_STREAMS: u32 = 16;
/// What one connection may send before it is read, in bytes.
const WINDOW: u32 = 64 << 10;
/// For a TLS handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer of HTTP/2 that is silent so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(20);
/// After an error of the system, such as too many open files, which passes.
const PAUSE: Duration = Duration::from_millis(100);
/// For requests that are under way when the end comes; Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("socket", &self.socket).field("tls", &self.tls.is_some()).finish()
    }
}

/// Given back on drop. The semaphore is never closed, so there is always one.
type Place = Result<OwnedSemaphorePermit, AcquireError>;
type Unexpected = Box<dyn std::error::Error + Send + Sync>;

impl Listener {
    pub(crate) fn new(socket: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        Self { socket, tls }
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers with `service` until `stopped` closes, and a little longer whoever has begun.
    pub(crate) async fn serve<S, B>(self, service: S, mut stopped: watch::Receiver<()>)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Unexpected>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Unexpected>,
    {
        let Self { socket, tls } = self;
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let (place, stream) = tokio::select! {
                next = accept(&socket, &room) => next,
                _ = stopped.changed() => break,
            };
            let (tls, service, watcher) = (tls.clone(), service.clone(), graceful.watcher());
            tokio::spawn(async move {
                if let Err(error) = connection(stream, tls, service, watcher).await {
                    tracing::debug!(error, "a connection ended early");
                }
                drop(place);
            });
        }
        // Nobody new is let in while the others finish.
        drop(socket);
        if timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections were still open at the end");
        }
    }
}

/// The next connection, and its place among those that are allowed at a time.
async fn accept(socket: &TcpListener, room: &Arc<Semaphore>) -> (Place, TcpStream) {
    let place = room.clone().acquire_owned().await;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => return (place, stream),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<S, B>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: S,
    watcher: Watcher,
) -> Result<(), Unexpected>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Unexpected>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Unexpected>,
{
    // Small answers that wait to be joined by others make the peer wait.
    stream.set_nodelay(true)?;
    let builder = builder();
    match tls {
        None => watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await,
        Some(tls) => {
            let stream = timeout(PATIENCE, tls.accept(stream)).await??;
            watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(PATIENCE)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    builder
}
