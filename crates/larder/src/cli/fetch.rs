//! `larder fetch`, whose flags and defaults are those of image-prefetcher, and more.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};
use larder_core::parse_go_duration as duration;
use larder_node::fetch::{MinFree, Wanted};

use crate::deploy::{Label, NameError, ObjectName};

/// Which secret, as it is typed: `[NAMESPACE/]NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretName {
    /// None is the namespace of whoever asks.
    pub(crate) namespace: Option<Label>,
    /// In it.
    pub(crate) name: ObjectName,
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.parse()?), name),
            None => (None, text),
        };
        Ok(Self { namespace, name: name.parse()? })
    }
}

/// Pulls images through the node's runtime, over CRI: containerd or CRI-O.
///
/// What the runtime confirms to have, by exact reference or digest, is not pulled again; a tag `latest`, or none, always is. What
/// can never succeed ends that image at once; the rest is tried again, with growing pauses, until the overall time is up.
/// The exit status is 0 if all images are there, 1 if one is not, 2 for a wrong command line, 3 if there is no runtime.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct FetchArgs {
    /// An image
    #[arg(value_name = "IMAGE", value_parser = Wanted::parse)]
    pub(crate) images: Vec<Wanted>,
    /// The runtime's socket
    #[arg(long, value_name = "SOCKET", default_value = "/run/containerd/containerd.sock")]
    pub(crate) cri_socket: PathBuf,
    /// A file with one image a line; empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub(crate) image_list_file: OsString,
    /// A file with registry credentials, as docker and pull secrets of type dockerconfigjson have them
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub(crate) docker_config: OsString,
    /// The configuration of kubelet's credential providers; needs the directory, too
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub(crate) image_credential_provider_config: OsString,
    /// The directory with kubelet's credential providers
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    pub(crate) image_credential_provider_bin_dir: OsString,
    /// A pull secret to read from the Kubernetes API, of type kubernetes.io/dockerconfigjson or dockercfg, in this pod's
    /// namespace unless another is named; repeatable
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub(crate) pull_secret: Vec<SecretName>,
    /// Images that are pulled at the same time
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) max_parallel_pulls: NonZeroUsize,
    /// Begin to pull at this node's own moment within so long, so that a fleet does not ask a registry all at once; the overall
    /// time does not run meanwhile
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub(crate) start_spread: Duration,
    /// What must stay free on the image file system, in bytes (20G) or as a part of it (15%); an image that does not fit is not
    /// pulled. 0 for no floor [default: 15%, from where on the kubelet removes images, if the file system can be seen]
    #[arg(long, value_name = "SIZE|PERCENT%")]
    pub(crate) min_free: Option<MinFree>,
    /// Pull images that are there, too
    #[arg(long)]
    pub(crate) always: bool,
    /// What the first attempt at an image may take; doubles with each further one
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) initial_pull_attempt_timeout: Duration,
    /// What any attempt may take
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub(crate) max_pull_attempt_timeout: Duration,
    /// The pause after the first attempt; doubles with each further one
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) initial_pull_attempt_delay: Duration,
    /// The longest pause
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) max_pull_attempt_delay: Duration,
    /// What everything may take; results are delivered after it, too
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "20m")]
    pub(crate) overall_timeout: Duration,
    /// With --debug: what counting the runtime's images may take
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m")]
    pub(crate) image_list_timeout: Duration,
    /// Deliver the result of each attempt to the `aggregate-metrics` at this address
    #[arg(long, value_name = "HOST:PORT", default_value = "", hide_default_value = true)]
    pub(crate) metrics_endpoint: String,
    /// A PEM file with the authority of the aggregator's certificate: it is then spoken to over TLS
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_ca_cert: Option<PathBuf>,
    /// A file with the bearer token that the aggregator wants
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_token_file: Option<PathBuf>,
    /// Say everything on stderr
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, action = ArgAction::Set)]
    pub(crate) debug: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_with_its_namespace_or_without() {
        let name = |text: &str| {
            let SecretName { namespace, name } = text.parse::<SecretName>().ok()?;
            Some((namespace.map(|namespace| namespace.to_string()), name.to_string()))
        };
        assert_eq!(name("regcred"), Some((None, "regcred".to_owned())));
        assert_eq!(name("team/reg.cred"), Some((Some("team".to_owned()), "reg.cred".to_owned())));
        for text in ["", "/", "team/", "/regcred", "a/b/c", "te.am/regcred", "Team/regcred", "../x"] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }
}
