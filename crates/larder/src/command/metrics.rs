//! `larder aggregate-metrics` and `larder sleep`: both end well when they are told to end.

use anyhow::Context as _;
use larder_node::metrics::{AggregateOptions, Aggregator, BearerToken, TlsFiles};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::AggregateMetricsArgs;
use crate::exit::Exit;
use crate::printer;

pub(super) fn aggregate(args: AggregateMetricsArgs) -> anyhow::Result<Exit> {
    let options = options(args)?;
    runtime()?.block_on(async {
        let end = end()?;
        let aggregator = Aggregator::bind(options).await?;
        let (grpc, http) = (aggregator.grpc_address()?, aggregator.http_address()?);
        printer::talk(format_args!("results are taken at {grpc}, and told of at {http}"));
        aggregator.run(end).await;
        Ok(Exit::Done)
    })
}

pub(super) fn sleep() -> anyhow::Result<Exit> {
    runtime()?.block_on(async {
        end()?.await;
        Ok(Exit::Done)
    })
}

fn options(args: AggregateMetricsArgs) -> anyhow::Result<AggregateOptions> {
    let AggregateMetricsArgs {
        grpc_port,
        http_port,
        bind,
        tls_cert,
        tls_key,
        token_file,
        max_results,
        debug: _,
    } = args;
    let tls = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
    let token = token_file.as_deref().map(BearerToken::read).transpose()?;
    Ok(AggregateOptions { bind, grpc_port, http_port, tls, token, max_results })
}

/// One thread is enough to wait, and to answer a fleet; more of them would cost memory for nothing.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Ends with SIGTERM or SIGINT, which are caught from now on: the first process of a container would not get them otherwise.
pub(super) fn end() -> anyhow::Result<impl Future<Output = ()>> {
    let catch = |kind| signal(kind).context("cannot wait for signals");
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
