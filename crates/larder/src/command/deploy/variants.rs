//! The manifests that the tests look at: every flag, in the combinations that change something.

use clap::Parser as _;

use super::{attach_request, prefetcher_request};
use crate::cli::{Cli, Command, DeployArgs};
use crate::deploy::Object;

/// Command lines, without `larder deploy`.
pub(super) const VARIANTS: [&str; 9] = [
    "prefetcher plain",
    "prefetcher seed v0.2.2 vanilla",
    "prefetcher placed --namespace ns",
    "prefetcher shift v1 ocp --namespace ns --secret pull",
    "prefetcher counted --collect-metrics --metrics-service-type NodePort",
    "prefetcher full --version v1 --k8s-flavor ocp --namespace ns --secret pull --collect-metrics --max-unavailable 3 \
     --node-selector pool=gpu,zone=a --priority-class high --use-kubelet-image-credential-integration GKE",
    "attach disk",
    "attach full --claim stock --namespace ns --version v1 --max-unavailable 1 --node-selector pool=gpu \
     --priority-class high",
    "attach shift --k8s-flavor ocp",
];

/// What a command line prints.
pub(super) fn objects(line: &str) -> Vec<Object> {
    try_objects(line).unwrap_or_else(|error| panic!("{line}: {error:#}"))
}

pub(super) fn try_objects(line: &str) -> anyhow::Result<Vec<Object>> {
    let words = ["larder", "deploy"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words)?.command {
        Command::Deploy(DeployArgs::Prefetcher(args)) => Ok(prefetcher_request(*args)?.objects()),
        Command::Deploy(DeployArgs::Attach(args)) => Ok(attach_request(*args)?.objects()),
        other => anyhow::bail!("{other:?} prints no objects"),
    }
}

/// All of them, each with its command line.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Vec<Object>)> {
    VARIANTS.into_iter().map(|line| (line, objects(line)))
}
