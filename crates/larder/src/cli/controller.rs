//! `larder controller`: its own flags, and those of kube-fledged's controller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use larder_controller::AllowedRegistry;
use larder_core::parse_go_duration;

/// Keeps image caches true on every node: `ImageCache` in, one `NodeImageSet` per node out.
///
/// Runs in a cluster, or with a kubeconfig. Of several replicas one writes; the others take over when it ends. Agents on the nodes
/// (`larder agent`) do the work. SIGTERM ends it.
#[derive(Args, Debug)]
pub(crate) struct ControllerArgs {
    /// How often moving tags are asked for again, such as 15m or 1h30m; 0s for never
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_go_duration)]
    pub(crate) image_cache_refresh_frequency: Duration,
    /// How long one pull may take where its cache does not say
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_go_duration)]
    pub(crate) image_pull_deadline_duration: Duration,
    /// `Always`: a refresh asks the registry again for every image, whatever its cache says
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent")]
    pub(crate) image_pull_policy: Policy,
    /// Take caches of these namespaces only; repeated, or with commas
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) namespaces: Vec<String>,
    /// Take images of these registries, or parts of them, only: registry.example, docker.io/library; repeated, or with commas
    #[arg(long, value_name = "REGISTRY", value_delimiter = ',')]
    pub(crate) allowed_registries: Vec<AllowedRegistry>,
    /// How long a purge or a deletion waits for nodes that do not answer
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_go_duration)]
    pub(crate) purge_deadline: Duration,
    /// Where to answer /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub(crate) metrics_address: SocketAddr,
    /// The namespace of the lease that makes one of several replicas the writer [default: the pod's own, else kube-system]
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// A kubeconfig to use instead of KUBECONFIG or the pod's service account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) releases: ReleaseFlags,
}

/// Whether what is there is pulled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    #[value(name = "Always")]
    Always,
}

/// Flags of kube-fledged's controller that have no work to do here.
#[derive(Args, Debug)]
pub(crate) struct ReleaseFlags {
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) service_account_name: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) image_delete_job_host_network: Option<bool>,
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) job_priority_class_name: Option<String>,
    #[arg(long, hide = true, value_name = "POLICY")]
    pub(crate) job_retention_policy: Option<String>,
    #[arg(long, hide = true, value_name = "PATH")]
    pub(crate) cri_socket_path: Option<String>,
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) jobs_max_surge: Option<u32>,
    #[arg(long, hide = true, value_name = "URL")]
    pub(crate) master: Option<String>,
    #[arg(long, hide = true, value_name = "LEVEL")]
    pub(crate) stderrthreshold: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) logtostderr: Option<bool>,
}

/// What becomes of a flag of the releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// It has no use: a warning, with why.
    Ignored(&'static str, &'static str),
    /// Going on without it would do something else: refused, with what to use.
    Refused(&'static str, &'static str),
}

impl ReleaseFlags {
    /// Those that were given a meaning which is not the default of the releases.
    pub(crate) fn given(&self) -> Vec<Release> {
        use Release::{Ignored, Refused};
        let Self {
            service_account_name,
            image_delete_job_host_network,
            job_priority_class_name,
            job_retention_policy,
            cri_socket_path,
            jobs_max_surge,
            master,
            stderrthreshold,
            logtostderr,
        } = self;
        let text = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        let table = [
            (
                text(service_account_name),
                Refused(
                    "service-account-name",
                    "name imagePullSecrets in the ImageCache; nothing here runs as a service account",
                ),
            ),
            (
                text(job_priority_class_name),
                Refused("job-priority-class-name", "set priorityClassName in the ImageCache"),
            ),
            (
                text(cri_socket_path),
                Refused("cri-socket-path", "set it on `larder agent`, which finds the usual sockets"),
            ),
            (text(master), Refused("master", "name the server in a kubeconfig, with --kubeconfig")),
            (
                image_delete_job_host_network.unwrap_or_default(),
                Ignored("image-delete-job-host-network", "the agents remove images, no job does"),
            ),
            (job_retention_policy.is_some(), Ignored("job-retention-policy", "no job is left behind")),
            (
                jobs_max_surge.unwrap_or_default() > 0,
                Refused("jobs-max-surge", "set maxParallelNodes in the ImageCache"),
            ),
            (stderrthreshold.is_some(), Ignored("stderrthreshold", "-v and LARDER_LOG say what is logged")),
            (logtostderr.is_some(), Ignored("logtostderr", "stderr is where logs go")),
        ];
        table.into_iter().filter_map(|(given, release)| given.then_some(release)).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(flags: &[&str]) -> ControllerArgs {
        let words = ["larder", "controller"].iter().chain(flags);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Controller(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_releases() {
        let args = parse(&[]);
        assert_eq!(args.image_cache_refresh_frequency, Duration::from_mins(15));
        assert_eq!(args.image_pull_deadline_duration, Duration::from_mins(5));
        assert_eq!(args.image_pull_policy, Policy::IfNotPresent);
        assert!(args.releases.given().is_empty());
    }

    #[test]
    fn flags_of_the_releases_are_taken_ignored_or_refused_by_name() {
        let args = parse(&[
            "--image-cache-refresh-frequency=0s",
            "--job-retention-policy=retain",
            "--image-delete-job-host-network=false",
            "--service-account-name=",
            "--stderrthreshold=INFO",
            "--jobs-max-surge=3",
        ]);
        assert_eq!(args.image_cache_refresh_frequency, Duration::ZERO);
        let names: Vec<_> = args
            .releases
            .given()
            .into_iter()
            .map(|release| match release {
                Release::Ignored(name, _) => (name, false),
                Release::Refused(name, _) => (name, true),
            })
            .collect();
        assert_eq!(
            names,
            [("job-retention-policy", false), ("jobs-max-surge", true), ("stderrthreshold", false)]
        );
    }

    #[test]
    fn lists_are_repeated_or_have_commas() {
        let args =
            parse(&["--namespaces", "a,b", "--namespaces", "c", "--allowed-registries", "docker.io/library"]);
        assert_eq!(args.namespaces, ["a", "b", "c"]);
        assert_eq!(args.allowed_registries.len(), 1);
    }
}
