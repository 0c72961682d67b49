//! The gRPC side: takes results as they come, one at a time.

use std::sync::Arc;
use std::time::Duration;

use larder_proto::prefetch_metrics::metrics_server::{Metrics, MetricsServer};
use larder_proto::prefetch_metrics::{Empty, Result as Message};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::super::token::BearerToken;
use super::ledger::SharedLedger;

/// Of one result, in bytes. Errors that quote a registry's page are long, and cut only once they are here.
const MAX_MESSAGE: usize = 256 << 10;
/// Between two results of one submission: image-prefetcher collects first and sends then.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Receiver {
    ledger: SharedLedger,
    token: Option<Arc<BearerToken>>,
}

/// The service for one connection or many.
pub(super) fn service(ledger: SharedLedger, token: Option<Arc<BearerToken>>) -> MetricsServer<Receiver> {
    MetricsServer::new(Receiver { ledger, token }).max_decoding_message_size(MAX_MESSAGE)
}

#[tonic::async_trait]
impl Metrics for Receiver {
    async fn submit(&self, request: Request<Streaming<Message>>) -> Result<Response<Empty>, Status> {
        let received = self.receive(request).await;
        if let Err(status) = &received {
            self.ledger.refuse();
            tracing::warn!(code = ?status.code(), message = status.message(), "a submission was refused");
        }
        received.map(|()| Response::new(Empty {}))
    }
}

impl Receiver {
    async fn receive(&self, request: Request<Streaming<Message>>) -> Result<(), Status> {
        let header = request.metadata().get("authorization").map(|value| value.as_bytes().to_vec());
        if self.token.as_ref().is_some_and(|token| !token.opens(header.as_deref())) {
            return Err(Status::unauthenticated("a bearer token is needed, and this is not it"));
        }
        let mut results = request.into_inner();
        let late = |_| Status::deadline_exceeded(format!("no further result within {IDLE:?}"));
        while let Some(result) = timeout(IDLE, results.message()).await.map_err(late)?? {
            if result.attempt_id.is_empty() {
                return Err(Status::invalid_argument("a result has no attempt_id"));
            }
            self.ledger.add(result);
        }
        Ok(())
    }
}
