//! Carries requests out: composes registry, disk and node.

mod agent;
mod build;
mod caches;
mod completion;
mod controller;
mod deploy;
mod disk;
mod fetch;
mod hydrate;
mod metrics;
mod node;
mod registry;
mod report;
mod status;
mod warm;

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

/// The command line asks for something that cannot be meant; found only after it was parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Runs the command that was typed.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Build(args) => build::run(args),
        Command::Inspect(args) => disk::inspect(args),
        Command::Verify(args) => disk::verify(args),
        Command::Diff(args) => disk::diff(args),
        Command::Attach(args) => node::attach(args),
        Command::Detach(args) => node::detach(args),
        Command::Hydrate(args) => hydrate::run(args),
        Command::Warm(args) => warm::run(*args),
        Command::Status(args) => status::run(*args),
        Command::Fetch(args) => fetch::run(*args),
        Command::Controller(args) => controller::run(*args),
        Command::Agent(args) => agent::run(*args),
        Command::AggregateMetrics(args) => metrics::aggregate(args),
        Command::Sleep(_) => metrics::sleep(),
        Command::Deploy(args) => deploy::run(args),
        Command::ReleaseCaches(args) => warm::release_caches(args),
        Command::Completion(args) => completion::run(&args),
    }
}

/// Events go to stderr: warnings and errors, and more on demand.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "larder=info,warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("LARDER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
