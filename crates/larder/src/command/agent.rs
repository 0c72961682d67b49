//! `larder agent`: keeps this node's images as its `NodeImageSet` wants them until it is told to end.

use anyhow::Context as _;
use larder_node::fetch::Limits;
use larder_node::metrics::node_name;
use larder_node::{AgentOptions, agent};
use tokio::runtime::Builder;

use super::fetch::{RegistryAccess, socket};
use super::metrics::end;
use crate::cli::AgentArgs;
use crate::exit::Exit;

pub(super) fn run(args: AgentArgs) -> anyhow::Result<Exit> {
    let plugins = args
        .image_credential_provider_config
        .as_deref()
        .zip(args.image_credential_provider_bin_dir.as_deref());
    let registries = RegistryAccess::new(args.docker_config.as_deref(), plugins)?;
    let options = options(args);
    // One thread does: it only waits, and a node has better use for the memory of more.
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async { agent(&options, &registries, end()?).await.map_err(anyhow::Error::from) })?;
    Ok(Exit::Done)
}

fn options(args: AgentArgs) -> AgentOptions {
    let AgentArgs {
        node_name: named,
        cri_socket,
        docker_config: _,
        image_credential_provider_config: _,
        image_credential_provider_bin_dir: _,
        max_parallel_pulls,
        start_spread,
        min_free,
        low_threshold,
        verify_every,
        initial_pull_attempt_timeout,
        max_pull_attempt_timeout,
        initial_pull_attempt_delay,
        max_pull_attempt_delay,
        metrics_address,
    } = args;
    AgentOptions {
        socket: socket(&cri_socket),
        node: named.unwrap_or_else(node_name),
        limits: Limits {
            initial_attempt: initial_pull_attempt_timeout,
            max_attempt: max_pull_attempt_timeout,
            initial_delay: initial_pull_attempt_delay,
            max_delay: max_pull_attempt_delay,
        },
        max_parallel: max_parallel_pulls,
        start_spread,
        insist_on_floor: min_free.is_some(),
        min_free: min_free.unwrap_or_default(),
        low_threshold,
        verify_every,
        metrics: metrics_address,
    }
}
