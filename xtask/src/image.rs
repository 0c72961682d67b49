//! `cargo xtask image`: Larder's own image as an OCI layout, made without a container engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_tests::image::{product, product_suite};

use crate::say;

/// What is made, and where it is left.
#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// The OCI layout to write, or to add to
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The image's tag in the layout
    #[arg(long, value_name = "TAG", default_value = concat!("v", env!("CARGO_PKG_VERSION")))]
    tag: String,
    /// The program to put into it [default: built here, for release]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    let binary = args.binary.clone().map_or_else(build, Ok)?;
    let image = product(&binary, product_suite()?, env!("CARGO_PKG_VERSION"))?;
    image.write_layout(&args.output, &args.tag)?;
    say(format_args!("{} {} {}", args.output.display(), args.tag, image.digest()));
    Ok(())
}

fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let build = ["build", "--release", "--locked", "--package", "larder"];
    let status = Command::new("cargo").args(build).current_dir(root).status().context("start cargo")?;
    ensure!(status.success(), "cargo build ended with {status}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/larder"))
}
