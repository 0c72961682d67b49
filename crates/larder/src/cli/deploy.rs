//! `larder deploy`: what can be typed, and the request that it means.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::{Cli, Command};

use crate::deploy::{
    Flavor, InstanceName, Label, MaxUnavailable, ObjectName, ProgramPath, REPOSITORY, SelectorError,
    ServiceName, ServiceType, Version, label,
};

/// Prints manifests with a purpose of their own, for kubectl to apply; or units for systemd.
#[derive(Debug, Subcommand)]
pub(crate) enum DeployArgs {
    /// Manifests that pull an image list on every node
    Prefetcher(Box<DeployPrefetcherArgs>),
    /// Manifests that attach the cache disk of a PersistentVolumeClaim on every node
    Attach(Box<DeployAttachArgs>),
    /// Units that bring attached disks back when a machine starts
    Systemd(DeploySystemdArgs),
}

/// Prints a DaemonSet whose pods are ready once every listed image is on their node, and what goes with it.
///
/// Its init container `prefetch` reads the images from the key `images.txt` of the ConfigMap NAME. `kubectl rollout status
/// daemonset NAME` succeeds once all images are on all nodes, and not before.
#[derive(Args, Debug)]
#[command(after_help = "\
    For images.txt with an image a line:\n\
    larder deploy prefetcher my-images > manifest.yaml\n\
    kubectl create namespace prefetch-images\n\
    kubectl create -n prefetch-images configmap my-images --from-file=\"images.txt=images.txt\"\n\
    kubectl apply -n prefetch-images -f manifest.yaml\n\
    kubectl rollout -n prefetch-images status daemonset my-images --timeout 5m")]
pub(crate) struct DeployPrefetcherArgs {
    #[command(flatten)]
    pub(crate) instance: InstanceArgs,
    /// The tag or digest of Larder's image
    #[arg(value_name = "VERSION", conflicts_with = "version")]
    pub(crate) version_argument: Option<Version>,
    /// The kind of cluster
    #[arg(value_name = "FLAVOR", conflicts_with = "k8s_flavor")]
    pub(crate) flavor_argument: Option<Flavor>,
    /// The pull secret for the listed images, of type kubernetes.io/dockerconfigjson, in the same namespace
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<ObjectName>,
    /// Collect each attempt's result, and serve them through the service NAME-metrics at port 8080
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub(crate) collect_metrics: bool,
    /// How that service can be reached
    #[arg(long, value_name = "TYPE", default_value = "LoadBalancer", ignore_case = true)]
    pub(crate) metrics_service_type: ServiceType,
    /// Print the ConfigMap, too, with the images of this file; another list makes other pods
    #[arg(long, value_name = "FILE")]
    pub(crate) image_list: Option<PathBuf>,
    /// Ask the credential providers of the nodes' kubelets, installed as there
    #[arg(long, value_name = "PROVIDER", default_value = "", hide_default_value = true)]
    pub(crate) use_kubelet_image_credential_integration: Provider,
    /// Nodes that may be without a ready pod while pods are replaced, as a number or a percentage; the pods serve nobody
    #[arg(long, value_name = "N|PERCENT%", default_value = "100%")]
    pub(crate) max_unavailable: MaxUnavailable,
}

/// Prints a DaemonSet whose pods attach the disk of a `ReadOnlyMany` claim, and are ready once its images are on their node.
///
/// The disk gets a mount of its own on the host: containers go on to read it when the pod, or the DaemonSet, is gone.
#[derive(Args, Debug)]
pub(crate) struct DeployAttachArgs {
    #[command(flatten)]
    pub(crate) instance: InstanceArgs,
    /// The PersistentVolumeClaim of the disk, in the same namespace [default: NAME]
    #[arg(long, value_name = "CLAIM")]
    pub(crate) claim: Option<ObjectName>,
    /// Nodes that may be without a ready pod while pods are replaced, as a number or a percentage
    #[arg(long, value_name = "N|PERCENT%", default_value = "10%")]
    pub(crate) max_unavailable: MaxUnavailable,
}

/// What every kind of manifest takes.
#[derive(Args, Debug)]
pub(crate) struct InstanceArgs {
    /// The name of this instance, and of what is printed
    #[arg(value_name = "NAME")]
    pub(crate) name: InstanceName,
    /// The tag or digest of Larder's image [default: this program's version]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<Version>,
    /// Where Larder's image is
    #[arg(long, value_name = "REPOSITORY", default_value = REPOSITORY)]
    pub(crate) image: String,
    /// The kind of cluster [default: vanilla]
    #[arg(long, value_name = "FLAVOR")]
    pub(crate) k8s_flavor: Option<Flavor>,
    /// The namespace of everything that is printed [default: that of `kubectl apply`]
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<Label>,
    /// Only nodes with this label; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = labels)]
    pub(crate) node_selector: Vec<Labels>,
    /// The priority class of the pods
    #[arg(long, value_name = "CLASS")]
    pub(crate) priority_class: Option<ObjectName>,
}

/// Prints two units: the disks' mounts before containerd, and their images between containerd and the kubelet.
///
/// They bring back what `larder attach` has attached; what is away is withdrawn, so that it can be pulled.
#[derive(Args, Debug)]
pub(crate) struct DeploySystemdArgs {
    /// Write the units into this directory, such as /etc/systemd/system, instead of printing them
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Where this program is
    #[arg(long, value_name = "PATH", default_value = "/usr/local/bin/larder")]
    pub(crate) program: ProgramPath,
    /// containerd's unit
    #[arg(long, value_name = "UNIT", default_value = "containerd.service")]
    pub(crate) containerd_unit: ServiceName,
    /// The kubelet's unit
    #[arg(long, value_name = "UNIT", default_value = "kubelet.service")]
    pub(crate) kubelet_unit: ServiceName,
}

/// Whose credential providers are on the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// Nobody's
    #[value(name = "", hide = true)]
    Nobody,
    /// Google Kubernetes Engine's
    #[value(name = "GKE")]
    Gke,
}

/// The labels of one argument, as kubectl takes them: `a=b,c=d`.
pub(crate) type Labels = Vec<(String, String)>;

/// Reads such labels.
pub(crate) fn labels(text: &str) -> Result<Labels, SelectorError> {
    text.split(',').map(label).collect()
}

/// Prints the manifests of a prefetcher, as image-prefetcher's own tool of this name does.
#[derive(Debug, Parser)]
#[command(name = "deploy", max_term_width = 100, arg_required_else_help = true)]
struct DeployTool {
    #[command(flatten)]
    prefetcher: DeployPrefetcherArgs,
}

/// Reads `deploy NAME [VERSION [FLAVOR]]`.
pub(crate) fn deploy_tool(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let DeployTool { prefetcher } = DeployTool::try_parse_from(arguments)?;
    Ok(Cli { verbose: 0, command: Command::Deploy(DeployArgs::Prefetcher(Box::new(prefetcher))) })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli;

    #[test]
    fn the_tool_of_the_prefetcher_takes_what_it_always_took() {
        DeployTool::command().debug_assert();
        let typed = |line: &str| cli::parse(line.split(' ').map(OsString::from));
        let line =
            "/bin/deploy --collect-metrics=true --secret=pull --k8s-flavor=ocp --version=v0.2.2 my-images";
        for line in
            [line, "deploy my-images v0.2.2 vanilla", "deploy --use-kubelet-image-credential-integration= x"]
        {
            let typed = typed(line).unwrap().command;
            assert!(matches!(typed, Command::Deploy(DeployArgs::Prefetcher(_))), "{line}");
        }
        for line in ["deploy", "deploy attach x --claim y", "deploy x v1 aks"] {
            assert!(typed(line).is_err(), "{line}");
        }
    }
}
