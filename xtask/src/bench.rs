//! `cargo xtask bench`: how fast, how much memory, beside what a user would use instead; results are kept under bench/.

mod build;
mod floor;
mod images;
mod measure;
mod node;
mod record;
mod reference;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// `larder build` beside the reference builder's way and the floor that the hardware sets
    Build {
        /// Runs of each; the medians are printed
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// `larder attach` beside pulls of the same images through CRI, and `larder fetch` beside the least that pulls
    Node {
        /// Runs of each; the medians are printed
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// What `node` measures `larder fetch` against
    #[command(hide = true)]
    BarePull(node::bare::BarePullArgs),
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    if cfg!(debug_assertions) {
        return optimised();
    }
    match bench {
        Bench::Build { runs } => build::run(*runs),
        Bench::Node { runs } => node::run(*runs),
        Bench::BarePull(args) => node::bare::run(args),
    }
}

/// Starts this same command again as an optimised program: the floor is measured by it.
fn optimised() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--release", "--quiet", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    let status = cargo.status().context("run cargo")?;
    ensure!(status.success(), "the bench failed: {status}");
    Ok(())
}
