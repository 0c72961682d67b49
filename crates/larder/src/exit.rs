//! How the program ends, in numbers.

use std::process::ExitCode;

use crate::cluster::ClusterError;
use crate::command::UsageError;
use crate::interrupt::Interrupted;

/// Exit statuses, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// Something failed, or a part of it.
    Failed = 1,
    /// The command line is wrong; nothing was begun.
    Usage = 2,
    /// There is no runtime, or no API server, to work with.
    Unreachable = 3,
    /// Ended by Ctrl-C or SIGTERM: 128 and the number of SIGINT, as shells count.
    Interrupted = 130,
}

impl Exit {
    /// The status for an error that ends a command.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match () {
            () if error.is::<Interrupted>() => Self::Interrupted,
            () if error.is::<UsageError>() => Self::Usage,
            () if error.downcast_ref().is_some_and(ClusterError::is_absence) => Self::Unreachable,
            () => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints what clap has to say: help and version are no errors.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    // With nowhere to print to there is nothing left to do.
    let _unprinted = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}
