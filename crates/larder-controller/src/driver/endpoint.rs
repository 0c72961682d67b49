//! Metrics and health over HTTP/1.1: `/metrics`, `/healthz`, `/readyz`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::metrics::{CONTENT_TYPE, Metrics};

/// Connections at a time: a scraper, probes, and a curious person.
const CONNECTIONS: usize = 32;
/// For one connection; scrapers come back.
const CONNECTION: Duration = Duration::from_mins(1);
/// After an accept that failed, for too many open files for instance.
const REST: Duration = Duration::from_millis(100);

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, is_ready: Arc<AtomicBool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics was not taken");
                sleep(REST).await;
                continue;
            }
        };
        let (metrics, is_ready) = (Arc::clone(&metrics), Arc::clone(&is_ready));
        tokio::spawn(async move {
            connection(stream, &metrics, &is_ready).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, metrics: &Metrics, is_ready: &AtomicBool) {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, metrics, is_ready)) });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics has ended"),
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, is_ready: &AtomicBool) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.text());
            let kind = hyper::header::HeaderValue::from_static(CONTENT_TYPE);
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
            response
        }
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if is_ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not everything was seen yet\n".to_owned()),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
