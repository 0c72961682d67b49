//! How registries are reached: the options that every command shares which reads images.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use larder_registry::Mirror;

use super::duration::parse as duration;

/// How registries are reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// Speak plain HTTP to this registry, or to all of them without a value
    #[arg(long, value_name = "HOST[:PORT]", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    pub(crate) plain_http: Vec<String>,
    /// A PEM file with authorities whose certificates to trust beside the system's; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// Ask this mirror before the registry HOST itself, with its own credential; may be repeated
    #[arg(long, value_name = "HOST=URL")]
    pub(crate) mirror: Vec<Mirror>,
    /// The file with registry credentials [default: docker's, then podman's]
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// For Google's registries (gcr.io, pkg.dev), take tokens of this machine's service account
    #[arg(long)]
    pub(crate) google_auth: bool,
    /// How often a request that failed is repeated, unless it can never succeed [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// The longest wait for a connection, such as 20s or 2m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// The longest wait for an answer or its next bytes [default: 1m for an answer, then 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) stall_timeout: Option<Duration>,
}
