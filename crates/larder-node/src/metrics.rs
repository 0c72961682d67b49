//! What nodes tell of their attempts at pulling images: sent by each node, collected by one aggregator, in the wire format of
//! stackrox/image-prefetcher.

mod aggregate;
pub(crate) mod answer;
mod endpoint;
pub(crate) mod listen;
mod node_name;
mod submit;
pub(crate) mod text;
mod token;

pub use aggregate::{AggregateError, AggregateOptions, Aggregator, DEFAULT_MAX_RESULTS, TlsError, TlsFiles};
pub use endpoint::{EndpointError, MetricsEndpoint};
pub use node_name::node_name;
pub use submit::{SubmitError, submit};
pub use token::{BearerToken, TokenError};
