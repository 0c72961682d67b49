//! Ctrl-C and SIGTERM: the work is told, cleans up, and the program ends with a status of its own.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// The work was ended from outside.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Runs `work` to its end, or until a signal comes.
pub(crate) async fn or_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
    }
}

fn no_signals(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot wait for signals")
}
