//! The names that the program is called by: some bring the command line of another program.

use std::ffi::OsString;
use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::{AggregateMetricsArgs, Cli, Command, FetchArgs, SleepArgs, deploy_tool};

/// Reads a command line that is not `larder`'s own.
type Parse = fn(&[OsString]) -> Result<Cli, clap::Error>;

const NAMES: [(&str, Parse); 3] =
    [("image-prefetcher", prefetcher), ("deploy", deploy_tool), ("kubectl-larder", plugin)];

/// What was typed, under whatever name the program was called.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called =
        arguments.first().and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
    match NAMES.iter().find(|(name, _)| called == Some(*name)) {
        Some((_, parse)) => parse(&arguments),
        None => Cli::try_parse_from(&arguments),
    }
}

/// Pulls images ahead of the pods that need them, and tells how it went.
#[derive(Debug, Parser)]
#[command(name = "image-prefetcher", version, max_term_width = 100, arg_required_else_help = true)]
struct Prefetcher {
    #[command(subcommand)]
    command: PrefetcherCommand,
}

#[derive(Debug, Subcommand)]
enum PrefetcherCommand {
    /// Pull images through the node's runtime
    Fetch(Box<FetchArgs>),
    /// Collect what nodes tell of their pulls
    AggregateMetrics(AggregateMetricsArgs),
    /// Do nothing until told to end
    Sleep(SleepArgs),
}

fn prefetcher(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let command = match Prefetcher::try_parse_from(arguments)?.command {
        PrefetcherCommand::Fetch(args) => Command::Fetch(args),
        PrefetcherCommand::AggregateMetrics(args) => Command::AggregateMetrics(args),
        PrefetcherCommand::Sleep(args) => Command::Sleep(args),
    };
    // It has always told what it does.
    Ok(Cli { verbose: 1, command })
}

/// A plugin of kubectl has all of larder's commands, and calls itself as it is typed.
fn plugin(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let command = Cli::command().bin_name("kubectl larder").name("kubectl larder").no_binary_name(true);
    Cli::from_arg_matches(&command.try_get_matches_from(arguments.iter().skip(1))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_name_brings_its_own_commands() {
        Prefetcher::command().debug_assert();
        assert!(matches!(typed("/bin/image-prefetcher fetch a:1").unwrap().command, Command::Fetch(_)));
        assert!(matches!(typed("/bin/larder fetch a:1").unwrap().command, Command::Fetch(_)));
        assert!(typed("image-prefetcher build a:1 -o x").is_err());
        assert!(typed("image-prefetcher").is_err());
        assert!(typed("image-prefetcher-2 build a:1 -o x").is_ok());
    }

    #[test]
    fn a_plugin_of_kubectl_has_larders_commands_and_kubectls_name() {
        let warm = typed("/bin/kubectl-larder warm redis:7 -n shop --wait").unwrap().command;
        assert!(matches!(warm, Command::Warm(args) if args.wait));
        let usage = typed("kubectl-larder warm").unwrap_err().to_string();
        assert!(usage.contains("Usage: kubectl larder warm"), "{usage}");
    }

    #[test]
    fn every_flag_of_the_prefetcher_is_taken_also_with_an_empty_value() {
        let line = "image-prefetcher fetch --cri-socket=/tmp/cri/containerd.sock --docker-config= --image-list-file=/tmp/list/images.txt \
            --metrics-endpoint= --image-credential-provider-config= --image-credential-provider-bin-dir= --image-list-timeout=1m \
            --initial-pull-attempt-timeout=30s --max-pull-attempt-timeout=5m --overall-timeout=20m --initial-pull-attempt-delay=1s \
            --max-pull-attempt-delay=10m --debug=false a b";
        let line: Vec<&str> = line.split_whitespace().collect();
        let Command::Fetch(args) = typed(&line.join(" ")).unwrap().command else { unreachable!() };
        assert_eq!((args.images.len(), args.debug), (2, false));
    }
}
