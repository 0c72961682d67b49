//! The HTTP side: `/metrics` in two forms, and `/healthz` for probes.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, HeaderName, HeaderValue, VARY, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};

use super::super::answer::{Answer, of_type, plain, whole, with};
use super::super::text;
use super::super::token::BearerToken;
use super::ledger::{Record, SharedLedger, Snapshot};
use super::negotiate::{Form, form};
use super::prometheus;

/// Records that are written at a time, so that the whole array is never in memory.
const CHUNK: usize = 100;
/// Where the array of JSON, whose form is not ours to change, says that it is not everything.
const DROPPED: HeaderName = HeaderName::from_static("larder-results-dropped");
const SHORTENED: HeaderName = HeaderName::from_static("larder-results-shortened");

/// The service for one connection or many.
#[derive(Clone, Debug)]
pub(super) struct Server {
    ledger: SharedLedger,
    token: Option<Arc<BearerToken>>,
}

pub(super) fn service(ledger: SharedLedger, token: Option<Arc<BearerToken>>) -> Server {
    Server { ledger, token }
}

impl hyper::service::Service<Request<Incoming>> for Server {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

impl Server {
    fn answer<B>(&self, request: &Request<B>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            return with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        match request.uri().path() {
            "/healthz" => plain(StatusCode::OK, "ok"),
            "/metrics" if !self.may(request) => {
                let refusal = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed");
                with(refusal, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            "/metrics" => self.metrics(request),
            _ => plain(StatusCode::NOT_FOUND, "only /metrics and /healthz are here"),
        }
    }

    fn may<B>(&self, request: &Request<B>) -> bool {
        let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        self.token.as_ref().is_none_or(|token| token.opens(header))
    }

    fn metrics<B>(&self, request: &Request<B>) -> Answer {
        let snapshot = self.ledger.snapshot();
        let answer = match form(accepted(request).as_deref()) {
            Form::Prometheus => of_type(text::CONTENT_TYPE, whole(prometheus::text(&snapshot))),
            Form::Json => json(snapshot),
        };
        with(answer, VARY, HeaderValue::from_static("accept"))
    }
}

/// All `Accept` headers as one.
fn accepted<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<&str> = headers.collect();
    (!all.is_empty()).then(|| all.join(","))
}

fn json(snapshot: Snapshot) -> Answer {
    let (dropped, shortened) = (snapshot.counts.dropped, snapshot.counts.shortened);
    let answer =
        of_type("application/json", StreamBody::new(stream::iter(array(snapshot.records))).boxed_unsync());
    with(with(answer, DROPPED, dropped.into()), SHORTENED, shortened.into())
}

/// The array, chunk by chunk, as it is asked for.
fn array(records: Vec<Arc<Record>>) -> impl Iterator<Item = Result<Frame<Bytes>, Infallible>> {
    let chunks = records.len().div_ceil(CHUNK).max(1);
    (0..chunks).map(move |chunk| {
        let from = chunk * CHUNK;
        let to = records.len().min(from + CHUNK);
        let mut bytes = if chunk == 0 { b"[".to_vec() } else { Vec::new() };
        for (at, record) in records[from..to].iter().enumerate() {
            if from + at > 0 {
                bytes.push(b',');
            }
            // Texts and numbers cannot fail to be written to memory.
            let _ = serde_json::to_writer(&mut bytes, &**record);
        }
        if chunk + 1 == chunks {
            bytes.extend_from_slice(b"]\n");
        }
        Ok(Frame::data(bytes.into()))
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use larder_proto::prefetch_metrics::Result as Message;

    use super::*;

    fn server(results: usize) -> Server {
        let ledger = SharedLedger::new(NonZeroUsize::new(1000).unwrap());
        for id in 0..results {
            ledger.add(Message { attempt_id: id.to_string(), ..Message::default() });
        }
        service(ledger, None)
    }

    fn request(method: &str, path: &str) -> Request<()> {
        Request::builder().method(method).uri(path).body(()).unwrap()
    }

    async fn text(answer: Answer) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_array_is_whole_however_many_chunks_it_takes() {
        for results in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let text = text(server(results).answer(&request("GET", "/metrics"))).await;
            let array: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(array.len(), results);
            assert!(
                array
                    .iter()
                    .enumerate()
                    .all(|(at, result)| result["attempt_id"].as_str() == Some(&at.to_string()))
            );
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let status = |method, path| server(0).answer(&request(method, path)).status().as_u16();
        let table = [
            ("GET", "/metrics", 200),
            ("HEAD", "/metrics?x", 200),
            ("GET", "/healthz", 200),
            ("GET", "/", 404),
        ];
        for (method, path, expected) in table.into_iter().chain([("POST", "/metrics", 405)]) {
            assert_eq!(status(method, path), expected, "{method} {path}");
        }
    }
}
