//! `larder completion`.

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionArgs};
use crate::exit::Exit;
use crate::printer;

pub(super) fn run(args: &CompletionArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "larder", &mut script);
    let script = String::from_utf8(script).context("the completion script is not text")?;
    printer::data(script.trim_end());
    Ok(Exit::Done)
}
