//! `larder inspect`, `larder verify` and `larder diff`; and `larder completion`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

/// How a report is written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Aligned columns, for people
    #[default]
    Table,
    /// One JSON object, for programs
    Json,
    /// One YAML document, for programs
    Yaml,
}

/// Says what is on a cache disk: its images and layers, their sizes, and what they share.
///
/// Nothing is mounted, and root is not needed. Contents of files are not read; see `larder verify`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A disk image, a block device, or a directory where a disk is mounted
    #[arg(value_name = "DISK")]
    pub(crate) disk: PathBuf,
    /// How to write the report
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
}

/// Proves that a cache disk is what it was when it was baked: metadata, digests, every file of every layer, and the file
/// system's own checksums.
///
/// Nothing is mounted, and root is not needed. A disk of another builder is checked as far as it goes: the md5 of each layer,
/// where there is one, and the file system. The exit status is 1 if anything is wrong.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// A disk image, a block device, or a directory where a disk is mounted
    #[arg(value_name = "DISK")]
    pub(crate) disk: PathBuf,
    /// How to write the report
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
    /// Layers to work on at the same time [default: one for each processor]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Says what a new cache disk has that an old one has not, and the other way round: images by name, layers by content.
///
/// Nothing is mounted, and root is not needed. The exit status is 0 whether they differ or not.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// A disk image, a block device, or a directory where a disk is mounted
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    /// The same, of the disk to compare with
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// How to write the report
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
}

/// Prints a script that completes larder's commands and options, for the shell to read.
#[derive(Args, Debug)]
#[command(after_help = "For bash: larder completion bash > /etc/bash_completion.d/larder")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
