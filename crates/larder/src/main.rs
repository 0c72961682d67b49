//! The one binary: what was typed becomes a checked request, the request is carried out, and the end is an exit status.

mod cli;
mod cluster;
mod command;
mod deploy;
mod exit;
mod interrupt;
mod printer;
mod progress;

use std::process::ExitCode;

use exit::Exit;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error).into(),
    };
    command::start_logging(cli.verbosity());
    let exit = command::run(cli).unwrap_or_else(|error| told(&error));
    match printer::finish() {
        Err(error) if exit == Exit::Done => told(&error.into()).into(),
        _ => exit.into(),
    }
}

fn told(error: &anyhow::Error) -> Exit {
    printer::error(error);
    Exit::of(error)
}
