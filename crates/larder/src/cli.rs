//! What can be typed.

mod agent;
mod build;
mod cluster;
mod controller;
mod deploy;
mod disk;
mod duration;
mod fetch;
mod hydrate;
mod metrics;
mod names;
mod node;
mod registry;
mod status;
mod warm;

use clap::{ArgAction, Parser, Subcommand};

pub(crate) use agent::AgentArgs;
pub(crate) use build::{BuildArgs, ReportForm};
pub(crate) use cluster::{ClusterArgs, ConnectArgs};
pub(crate) use controller::{ControllerArgs, Policy, Release, ReleaseFlags};
pub(crate) use deploy::{
    DeployArgs, DeployAttachArgs, DeployPrefetcherArgs, DeploySystemdArgs, InstanceArgs, Labels, Provider,
    deploy_tool, labels,
};
pub(crate) use disk::{CompletionArgs, DiffArgs, Form, InspectArgs, VerifyArgs};
pub(crate) use fetch::{FetchArgs, SecretName};
pub(crate) use hydrate::{AttachHydrateArgs, HydrateArgs};
pub(crate) use metrics::{AggregateMetricsArgs, SleepArgs};
pub(crate) use names::parse;
pub(crate) use node::{AttachArgs, ContainerdArgs, DetachArgs, KUBELETS_NAMESPACE, PlaceArgs};
pub(crate) use registry::RegistryArgs;
pub(crate) use status::StatusArgs;
pub(crate) use warm::{Puller, ReleaseCachesArgs, TypedImage, WarmArgs};

/// Keeps container images in stock on every Kubernetes node, so that a pod starts without waiting for a pull.
#[derive(Debug, Parser)]
#[command(name = "larder", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Say more on stderr; twice for everything. `LARDER_LOG` takes precedence
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// How much to say, as the count of `-v`.
    pub(crate) fn verbosity(&self) -> u8 {
        match &self.command {
            Command::Fetch(args) if args.debug => 2,
            Command::AggregateMetrics(AggregateMetricsArgs { debug: true, .. })
            | Command::Sleep(SleepArgs { debug: true }) => 2,
            // A daemon's log is all that there is of it.
            Command::Agent(_) | Command::Controller(_) => self.verbose.max(1),
            _ => self.verbose,
        }
    }
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bake images into a cache disk
    Build(BuildArgs),
    /// Say what is on a cache disk
    Inspect(InspectArgs),
    /// Prove that a cache disk is intact
    Verify(VerifyArgs),
    /// Say what a cache disk has that another has not
    Diff(DiffArgs),
    /// Make containerd list the images of a cache disk, without pulling
    Attach(AttachArgs),
    /// Take attached images away from containerd, unless they are in use
    Detach(DetachArgs),
    /// Read a cache disk through, for network disks that fetch blocks when they are first read
    Hydrate(HydrateArgs),
    /// Keep images in stock on a cluster's nodes
    Warm(Box<WarmArgs>),
    /// Say of a cluster's image caches, or of this node's cache disks, what is warm
    Status(Box<StatusArgs>),
    /// Pull images through the node's runtime
    Fetch(Box<FetchArgs>),
    /// Keep image caches true on every node of a cluster
    Controller(Box<ControllerArgs>),
    /// Keep this node's images as its `NodeImageSet` wants them
    Agent(Box<AgentArgs>),
    /// Collect what nodes tell of their pulls, and tell it to Prometheus and to people
    AggregateMetrics(AggregateMetricsArgs),
    /// Do nothing until told to end
    Sleep(SleepArgs),
    /// Print manifests that make a cluster do this by itself, or a machine's systemd units
    #[command(subcommand)]
    Deploy(DeployArgs),
    /// Let go of all image caches, at the end of an installation
    ReleaseCaches(ReleaseCachesArgs),
    /// Print a shell's completion script
    Completion(CompletionArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
