//! `larder attach` and `larder detach`.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use larder_core::ImageRef;

use super::AttachHydrateArgs;

/// The containerd namespace that the kubelet's runtime service uses.
pub(crate) const KUBELETS_NAMESPACE: &str = "k8s.io";

/// Which containerd, and where Larder keeps its own things on the node.
#[derive(Args, Clone, Debug)]
pub(crate) struct ContainerdArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The containerd namespace; the kubelet's is k8s.io
    #[arg(long, value_name = "NS", default_value = KUBELETS_NAMESPACE)]
    pub(crate) namespace: String,
}

/// The same without containerd's namespace, for a command that has another one.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceArgs {
    /// containerd's socket [default: the usual one where somebody listens]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) containerd: Option<PathBuf>,
    /// containerd's root directory [default: as containerd says]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Where disks are mounted, below it in disks/<id>
    #[arg(long, value_name = "DIR", default_value = "/var/lib/larder")]
    pub(crate) state_dir: PathBuf,
}

/// Makes containerd list the images of a cache disk, without pulling anything, restarting or reconfiguring it.
///
/// Doing it again changes nothing. What this containerd is not known to support is refused before anything is changed.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct AttachArgs {
    /// The cache disk: a block device, or the directory where it is mounted; may be given several times
    #[arg(long = "disk", value_name = "DIR|DEVICE", required_unless_present = "restore")]
    pub(crate) disks: Vec<PathBuf>,
    /// The images to attach [default: all that are on the disk]
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
    /// After a boot: mount the disks that were attached and attach their images again; withdraw those of disks that are away
    #[arg(long, conflicts_with_all = ["disks", "images", "dry_run"])]
    pub(crate) restore: bool,
    /// Only mount the disks, without containerd: to be done before containerd starts
    #[arg(long, requires = "restore")]
    pub(crate) mount_only: bool,
    /// Keep the kubelet from removing the images when it needs space
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) pin: bool,
    /// The same as --pin=false
    #[arg(long, conflicts_with = "pin")]
    pub(crate) no_pin: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where a disk is away, remove also what others built on its layers: their images, and containers that have ended
    #[arg(long)]
    pub(crate) force_heal: bool,
    /// Enter this mount namespace first, as /proc/1/ns/mnt in a pod with hostPID; a directory given as --disk is taken along
    #[arg(long, value_name = "FILE")]
    pub(crate) mount_namespace: Option<PathBuf>,
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
    /// Copy layers that other images build on from the disk to the node first, so that it can go
    #[arg(long)]
    pub(crate) keep_shared: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Enter this mount namespace first, as /proc/1/ns/mnt in a pod with hostPID
    #[arg(long, value_name = "FILE")]
    pub(crate) mount_namespace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) containerd: ContainerdArgs,
}
