//! `larder aggregate-metrics` and `larder sleep`.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use larder_node::metrics::DEFAULT_MAX_RESULTS;

/// Collects the results that nodes submit over gRPC, and tells of them at /metrics.
///
/// `GET /metrics` answers with a JSON array, and with Prometheus' text format to whoever names that in `Accept`. Results are kept in
/// memory; when the limit is reached, the oldest make room, and a counter says so. `GET /healthz` is for probes.
#[derive(Args, Debug)]
pub(crate) struct AggregateMetricsArgs {
    /// The port where nodes submit their results
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) grpc_port: u16,
    /// The port of /metrics and /healthz
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// The address to listen on [default: all of this machine's]
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED), hide_default_value = true)]
    pub(crate) bind: IpAddr,
    /// A PEM file with the certificate, and those that lead to its authority: both ports then speak TLS only
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A file with the bearer token that submitters and readers of /metrics must have
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The most results to keep
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_RESULTS)]
    pub(crate) max_results: NonZeroUsize,
    /// Say everything on stderr, as -vv does
    #[arg(long)]
    pub(crate) debug: bool,
}

/// Does nothing until SIGTERM or SIGINT: keeps a pod running whose work is done.
#[derive(Args, Debug)]
pub(crate) struct SleepArgs {
    /// Say everything on stderr, as -vv does
    #[arg(long)]
    pub(crate) debug: bool,
}
