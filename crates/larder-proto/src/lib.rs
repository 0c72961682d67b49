//! Messages, clients and servers of CRI v1, of the containerd services that Larder speaks to, and of prefetch metrics.
//! Generated from `proto/` (its README names the sources) and committed; `tests/generated.rs` fails when they are stale.
//! Holds no code of its own.

#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
mod generated;

pub use generated::containerd;

/// The Kubernetes Container Runtime Interface, version 1: `RuntimeService` and `ImageService`.
pub mod cri {
    pub use crate::generated::runtime::v1::*;
}

/// What nodes tell of their attempts at pulling images: the wire format of stackrox/image-prefetcher.
pub mod prefetch_metrics {
    pub use crate::generated::{Empty, Result, metrics_client, metrics_server};
}

/// The well-known types that the messages hold: `Any`, `Timestamp`, `FieldMask`.
pub use prost_types as well_known;
