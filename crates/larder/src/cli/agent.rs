//! `larder agent`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use larder_node::fetch::MinFree;

use super::duration::parse as duration;
use larder_core::parse_go_duration as duration_or_none;

/// Holds what this node's `NodeImageSet` wants in the node's runtime, and says in its status what the runtime has.
///
/// Runs until it is told to end, mostly as a pod of a DaemonSet. The API server is found as in any pod, or by KUBECONFIG; while it is away,
/// what was last wanted counts. Images are pulled as `larder fetch` pulls them; those that leave the node without the agent's doing are
/// pulled again. On purge only what the agent pulled and nothing uses is removed.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct AgentArgs {
    /// The node's name, which is its `NodeImageSet`'s, too [default: `NODE_NAME`, else the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// The runtime's socket
    #[arg(
        long,
        visible_alias = "runtime-endpoint",
        value_name = "SOCKET",
        default_value = "/run/containerd/containerd.sock"
    )]
    pub(crate) cri_socket: PathBuf,
    /// A file with registry credentials, as docker and pull secrets of type dockerconfigjson have them
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// The configuration of kubelet's credential providers
    #[arg(long, value_name = "FILE", requires = "image_credential_provider_bin_dir")]
    pub(crate) image_credential_provider_config: Option<PathBuf>,
    /// The directory with kubelet's credential providers
    #[arg(long, value_name = "DIR", requires = "image_credential_provider_config")]
    pub(crate) image_credential_provider_bin_dir: Option<PathBuf>,
    /// Images that are pulled at the same time
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) max_parallel_pulls: NonZeroUsize,
    /// Begin to pull what is new at this node's own moment within so long, so that a fleet does not ask a registry all at once
    #[arg(long, value_name = "DURATION", value_parser = duration_or_none, default_value = "0s")]
    pub(crate) start_spread: Duration,
    /// What must stay free on the image file system, in bytes (20G) or as a part of it (15%); an image that does not fit is not
    /// pulled. 0 for no floor [default: 15%, from where on the kubelet removes images, if the file system can be seen]
    #[arg(long, value_name = "SIZE|PERCENT%")]
    pub(crate) min_free: Option<MinFree>,
    /// The part of the image file system in use, in percent, from which on removed images are not pulled again: the kubelet's
    /// imageGCLowThresholdPercent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), default_value = "80")]
    pub(crate) low_threshold: u8,
    /// How often the status confirms images that did not change; they are looked at every 10 s
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) verify_every: Duration,
    /// What the first attempt at an image may take, unless its set says how long; doubles with each further one
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) initial_pull_attempt_timeout: Duration,
    /// What any attempt may take
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub(crate) max_pull_attempt_timeout: Duration,
    /// The pause after the first attempt; doubles with each further one
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) initial_pull_attempt_delay: Duration,
    /// The longest pause
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) max_pull_attempt_delay: Duration,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9808")]
    pub(crate) metrics_address: SocketAddr,
}
