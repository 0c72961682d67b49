//! Sends a node's results to the aggregator, again and again until it has them or the time is over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder_proto::prefetch_metrics::Result as Message;
use larder_proto::prefetch_metrics::metrics_client::MetricsClient;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use super::endpoint::MetricsEndpoint;
use crate::attempt::Attempt;
use crate::persist::{Failure, GaveUp, Patience, persist};

/// For one delivery of everything, connecting included: a fleet may deliver at the same time.
const CALL: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why results were not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The aggregator will never take them.
    #[error("the aggregator at {endpoint} refuses the results: {message} ({code:?})")]
    Refused {
        /// Where it is.
        endpoint: String,
        /// gRPC's kind of error.
        code: Code,
        /// Its words.
        message: String,
    },
    /// It did not take them in time.
    #[error("the aggregator at {endpoint} did not take the results within {limit:?}, asked {calls} times")]
    Undelivered {
        /// Where it is.
        endpoint: String,
        /// The time that there was.
        limit: Duration,
        /// How often it was tried.
        calls: u32,
        /// What it said last, if anything.
        #[source]
        last: Option<DeliveryError>,
    },
}

/// Why one delivery failed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Nobody answers.
    #[error("cannot connect")]
    Connect(#[from] tonic::transport::Error),
    /// The aggregator answered with an error.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Status(Box<Status>),
}

/// Delivers `attempts`, as those of `node`, within `limit`. Whatever is delivered twice counts once.
pub async fn submit(
    endpoint: &MetricsEndpoint,
    node: &str,
    attempts: &[Attempt],
    limit: Duration,
) -> Result<(), SubmitError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let messages: Vec<Message> = attempts.iter().map(|attempt| message(node, attempt)).collect();
    let patience = Patience { limit, call: CALL, first_wait: FIRST_WAIT, longest_wait: LONGEST_WAIT };
    let delivered = persist(patience, || deliver(endpoint, messages.clone())).await;
    delivered.map_err(|why| match why {
        GaveUp::Lasting(status) => SubmitError::refused(endpoint, status),
        GaveUp::TimedOut { calls, last } => {
            SubmitError::Undelivered { endpoint: endpoint.to_string(), limit, calls, last }
        }
    })
}

impl SubmitError {
    fn refused(endpoint: &MetricsEndpoint, error: DeliveryError) -> Self {
        let endpoint = endpoint.to_string();
        match error {
            DeliveryError::Status(status) => {
                Self::Refused { endpoint, code: status.code(), message: status.message().to_owned() }
            }
            DeliveryError::Connect(error) => {
                Self::Refused { endpoint, code: Code::Unavailable, message: error.to_string() }
            }
        }
    }
}

async fn deliver(endpoint: &MetricsEndpoint, messages: Vec<Message>) -> Result<(), Failure<DeliveryError>> {
    let channel = endpoint.channel.connect().await.map_err(|error| Failure::Passing(error.into()))?;
    let mut request = Request::new(futures_util::stream::iter(messages));
    if let Some(token) = &endpoint.token {
        // A token is visible ASCII, so this cannot fail.
        if let Ok(mut value) = MetadataValue::try_from(token.header()) {
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
    }
    match MetricsClient::new(channel).submit(request).await {
        Ok(_) => Ok(()),
        Err(status) if is_lasting(status.code()) => Err(Failure::Lasting(DeliveryError::status(status))),
        Err(status) => Err(Failure::Passing(DeliveryError::status(status))),
    }
}

impl DeliveryError {
    fn status(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The codes that speak of what was sent, not of how the aggregator is.
fn is_lasting(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

fn message(node: &str, attempt: &Attempt) -> Message {
    let Attempt { id, started_at, image, error, duration, size_bytes } = attempt;
    Message {
        attempt_id: id.to_string(),
        started_at: unix_seconds(*started_at),
        image: image.clone(),
        error: error.as_deref().map(not_empty).unwrap_or_default(),
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        node: node.to_owned(),
        size_bytes: *size_bytes,
    }
}

/// On the wire an empty error means success.
fn not_empty(error: &str) -> String {
    if error.is_empty() { "failed without a reason".to_owned() } else { error.to_owned() }
}

fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn attempt(error: Option<&str>) -> Attempt {
        Attempt {
            id: Uuid::from_u128(7),
            started_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_999),
            image: "redis:7".to_owned(),
            error: error.map(str::to_owned),
            duration: Duration::from_micros(1_234_567),
            size_bytes: 9,
        }
    }

    #[test]
    fn an_attempt_becomes_a_message_and_a_failure_stays_one() {
        let expected = Message {
            attempt_id: "00000000-0000-0000-0000-000000000007".to_owned(),
            started_at: 1_700_000_000,
            image: "redis:7".to_owned(),
            error: String::new(),
            duration_ms: 1234,
            node: "node-7".to_owned(),
            size_bytes: 9,
        };
        assert_eq!(message("node-7", &attempt(None)), expected);
        assert_eq!(message("n", &attempt(Some("no"))).error, "no");
        assert_ne!(message("n", &attempt(Some(""))).error, "");
        assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(5)), -5);
    }

    #[test]
    fn only_what_speaks_of_the_request_is_lasting() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Unknown] {
            assert!(!is_lasting(code), "{code:?}");
        }
        assert!(is_lasting(Code::Unauthenticated));
    }
}
