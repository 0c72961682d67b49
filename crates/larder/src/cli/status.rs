//! `larder status`.

use clap::Args;

use super::{ConnectArgs, Form, PlaceArgs};
use crate::deploy::ObjectName;

/// Says of each ImageCache how many of its nodes are warm, and what the others lack; with --node, of this node's cache disks.
///
/// Warm is what the nodes' runtimes confirm. The exit status is 0 if every cache that is shown is Ready: every Ready node that it
/// selects has all of its images; else 1, and 3 if there is no API server.
///
/// With --node it says of each image on this node whether a pod would start from it at once, and if not, why: warm is what CRI confirms
/// and what has every layer; each link leads to a directory that can be read, on a disk that is mounted. The exit status is 1 if a disk
/// is not there, or an image is not warm that is on a disk or stands on an attached layer; what the runtime has apart from disks is told,
/// and does not count. Nothing is changed either way.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Only this ImageCache
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<ObjectName>,
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    pub(crate) all_namespaces: bool,
    /// Go on showing it as it changes, until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Of this node's cache disks
    #[arg(long, conflicts_with_all = ["name", "all_namespaces", "watch", "kubeconfig", "context"])]
    pub(crate) node: bool,
    /// The namespace [default: the context's]; with --node, containerd's [default: k8s.io, the kubelet's]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// How to write the report
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten, next_help_heading = "Of this node (with --node)")]
    pub(crate) place: PlaceArgs,
}
