//! `larder status`.

use clap::Args;

use super::{ContainerdArgs, Form};

/// Says of each image on this node whether a pod would start from it at once, and if not, why.
///
/// Warm is what CRI confirms and what has every layer: each link leads to a directory that can be read, on a disk that is
/// mounted. Changes nothing. The exit status is 1 if a disk is not there, or an image is not warm that is on a disk or stands on
/// an attached layer; what the runtime has apart from disks is told, and does not count.
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
