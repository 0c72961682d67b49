//! `larder build`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use larder_core::Platform;
use larder_registry::ImageSpec;

/// Bakes images into a cache disk: one ext4 file system that nodes attach read-only.
///
/// No root, no container runtime, no scratch space. Every blob's digest and every layer's diff ID is proven before the
/// disk is complete; on failure nothing is left behind.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArgs {
    /// An image: a registry reference (redis:7, host:5000/team/app@sha256:...), [NAME=]oci:DIR[:TAG], or docker-archive:FILE
    #[arg(value_name = "IMAGE", required_unless_present = "image_list")]
    pub(crate) images: Vec<ImageSpec>,
    /// Where to: a file, or a block device
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: PathBuf,
    /// A file with one image a line; empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    pub(crate) image_list: Option<PathBuf>,
    /// Of images for several platforms, the one to take [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Speak plain HTTP to this registry, or to all of them without a value
    #[arg(long, value_name = "HOST[:PORT]", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    pub(crate) plain_http: Vec<String>,
    /// The file with registry credentials [default: docker's, then podman's]
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// Layers to work on at the same time [default: one for each processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Leave the journal out of the file system
    #[arg(long)]
    pub(crate) no_journal: bool,
    /// Overwrite a block device that holds something; never one that is mounted
    #[arg(long)]
    pub(crate) force: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder build redis:7 nginx:1.29 -o cache.img
  larder build --image-list images.txt -o /dev/disk/by-id/google-cache
  larder build oci:./layout:v1 -o cache.img --platform linux/arm64";
