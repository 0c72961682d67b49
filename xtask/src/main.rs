//! The project's own commands: `cargo xtask demo` and `cargo xtask test`.

mod bench;
mod demo;
mod deny;
mod fuzz;
mod image;
mod sudo;
mod test;
mod walls;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the whole way on real parts: three images, a registry, a cache disk, containerd, running containers
    Demo,
    /// Measures, and keeps the results under bench/
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Looks for foreign bytes that break a reader, for longer than the tests do
    Fuzz(fuzz::Fuzz),
    /// Makes Larder's own image, as an OCI layout or in a registry
    Image(image::ImageArgs),
    /// Runs every check and every test; installs what they need
    Test,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo => sudo::as_root(demo::run),
        Command::Bench(bench) => sudo::as_root(|| bench::run(&bench)),
        Command::Fuzz(fuzz) => fuzz::run(&fuzz),
        Command::Image(args) => image::run(&args),
        Command::Test => test::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line for the person who waits.
#[expect(clippy::print_stderr, reason = "the one place that does")]
fn say(line: impl std::fmt::Display) {
    eprintln!("{line}");
}
