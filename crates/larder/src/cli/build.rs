//! `larder build`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use larder_core::{ByteSize, Platform};
use larder_registry::ImageSpec;

use super::RegistryArgs;

/// Bakes images into a cache disk: one ext4 file system that nodes attach read-only.
///
/// No root, no container runtime, no scratch space. Every blob's digest and every layer's diff ID is proven before the
/// disk is complete; on failure nothing is left behind.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
pub(crate) struct BuildArgs {
    /// An image: a registry reference (redis:7, host:5000/team/app@sha256:...), [NAME=]oci:DIR[:TAG], or docker-archive:FILE
    #[arg(value_name = "IMAGE", required_unless_present = "image_list")]
    pub(crate) images: Vec<ImageSpec>,
    /// Where to: a file, or a block device
    #[arg(short, long, value_name = "OUTPUT", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    /// A file with one image a line; empty lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE")]
    pub(crate) image_list: Option<PathBuf>,
    /// Of images for several platforms, the one to take [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Layers to work on at the same time [default: one for each processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// The size of the disk [default: what is needed; all of a block device]
    #[arg(long, value_name = "BYTES", conflicts_with = "headroom")]
    pub(crate) size: Option<ByteSize>,
    /// Free space on the disk beside what is needed
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub(crate) headroom: ByteSize,
    /// What one layer may inflate to
    #[arg(long, value_name = "BYTES", default_value = "128G")]
    pub(crate) max_layer_size: ByteSize,
    /// Write the md5 column of snapshots.metadata, as the reference builder defines it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub(crate) store_snapshot_checksum: bool,
    /// Print what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The form of what is printed to stdout
    #[arg(long, value_name = "FORM", value_enum, default_value_t = ReportForm::Text)]
    pub(crate) report: ReportForm,
    /// Leave the journal out of the file system
    #[arg(long)]
    pub(crate) no_journal: bool,
    /// Overwrite a block device that holds something; never one that is mounted
    #[arg(long)]
    pub(crate) force: bool,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportForm {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  larder build redis:7 nginx:1.29 -o cache.img
  larder build --image-list images.txt -o /dev/disk/by-id/google-cache
  larder build oci:./layout:v1 -o cache.img --platform linux/arm64";
