//! `larder status`.

use clap::Args;

use super::{ContainerdArgs, Form};

/// Says of each image on this node's cache disks whether a pod would start from it at once, and if not, why.
///
/// Warm is what CRI confirms and what has every layer: each link leads to a directory that can be read, on a disk that is
/// mounted. Images of others that stand on an attached layer are judged too. Changes nothing. The exit status is 1 if any
/// image is not warm, or a disk is not there.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Of this node
    #[arg(long, required = true)]
    pub(crate) node: bool,
    /// How to write the report
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
    #[command(flatten)]
    pub(crate) containerd: ContainerdArgs,
}
