//! `/metrics` for Prometheus, `/healthz` and `/readyz` for probes, on one port.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, StatusCode};

use super::metrics::Metrics;
use crate::metrics::answer::{Answer, of_type, plain, whole, with};
use crate::metrics::text::CONTENT_TYPE;

/// The service for one connection or many.
#[derive(Clone, Debug)]
pub(super) struct Server(pub(super) Arc<Metrics>);

impl Service<Request<Incoming>> for Server {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}

impl Server {
    fn answer(&self, method: &Method, path: &str) -> Answer {
        let probe = |is_well: bool| {
            let (status, text) = if is_well {
                (StatusCode::OK, "ok")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not yet, or not any more")
            };
            plain(status, text)
        };
        match (method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => of_type(CONTENT_TYPE, whole(self.0.text())),
            (&Method::GET | &Method::HEAD, "/healthz") => probe(self.0.is_alive()),
            (&Method::GET | &Method::HEAD, "/readyz") => probe(self.0.is_ready()),
            (&Method::GET | &Method::HEAD, _) => {
                plain(StatusCode::NOT_FOUND, "only /metrics, /healthz and /readyz are here")
            }
            _ => {
                let refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
                with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD"))
            }
        }
    }
}
