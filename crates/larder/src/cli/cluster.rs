//! Flags of the commands that talk to a cluster's API server; kubectl's names and meanings.

use std::path::PathBuf;

use clap::Args;

use crate::deploy::Label;

/// Which cluster, and where in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// The namespace [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<Label>,
}

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// The kubeconfig file [default: $KUBECONFIG, or ~/.kube/config; in a pod, its service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}
