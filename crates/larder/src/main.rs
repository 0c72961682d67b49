//! The one binary: what was typed becomes a checked request, the request is carried out, and the end is an exit status.

mod cli;
mod command;
mod deploy;
mod exit;
mod interrupt;
mod printer;
mod progress;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error).into(),
    };
    command::start_logging(cli.verbose);
    match command::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            printer::error(&error);
            Exit::of(&error).into()
        }
    }
}
