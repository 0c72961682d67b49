//! `larder attach` and `larder detach`.

use std::path::PathBuf;

use clap::Args;
use larder_core::ImageRef;

use super::AttachHydrateArgs;

/// Which containerd, and where Larder keeps its own things on the node.
#[derive(Args, Clone, Debug)]
pub(crate) struct ContainerdArgs {
    /// containerd's socket [default: the usual one where somebody listens]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) containerd: Option<PathBuf>,
    /// containerd's root directory [default: as containerd says]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The containerd namespace; the kubelet's is k8s.io
    #[arg(long, value_name = "NS", default_value = "k8s.io")]
    pub(crate) namespace: String,
    /// Where disks are mounted, below it in disks/<id>
    #[arg(long, value_name = "DIR", default_value = "/var/lib/larder")]
    pub(crate) state_dir: PathBuf,
}

/// Makes containerd list the images of a cache disk, without pulling anything, restarting or reconfiguring it.
///
/// Doing it again changes nothing. What this containerd is not known to support is refused before anything is changed.
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// The cache disk: a block device, or the directory where it is mounted
    #[arg(long, value_name = "DIR|DEVICE")]
    pub(crate) disk: PathBuf,
    /// The images to attach [default: all that are on the disk]
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
    #[command(flatten)]
    pub(crate) hydrate: AttachHydrateArgs,
    #[command(flatten)]
    pub(crate) containerd: ContainerdArgs,
}

/// Takes attached images away from containerd.
///
/// An image that a container uses, or another image builds on, is left as it is and named; the rest is done, and the exit
/// status is 1.
#[derive(Args, Debug)]
pub(crate) struct DetachArgs {
    /// Only what comes from this cache disk: a block device, a directory where it is mounted, or its id
    #[arg(long, value_name = "DIR|DEVICE|ID")]
    pub(crate) disk: Option<String>,
    /// The images to detach [default: all that were attached]
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
    #[command(flatten)]
    pub(crate) containerd: ContainerdArgs,
}
