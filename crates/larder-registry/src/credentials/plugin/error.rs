//! What can be wrong with a plugin. No variant holds what a plugin answered: that may be a secret.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why there are no plugins, or one gave no credentials.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The configuration cannot be read.
    #[error("cannot read the credential provider configuration {path}", path = .path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The configuration is none.
    #[error("{path} is not a CredentialProviderConfig: {reason}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A plugin is configured, but not installed.
    #[error("credential provider {plugin} is configured, but {program} is no program", program = .program.display())]
    NoProgram {
        /// Its name.
        plugin: String,
        /// Where it was looked for.
        program: PathBuf,
    },
    /// A plugin wants the token of a pod's service account, which a node does not have.
    #[error("credential provider {plugin} works with a pod's service account only")]
    ServiceAccount {
        /// Its name.
        plugin: String,
    },
    /// It cannot be started or spoken to.
    #[error("cannot run credential provider {plugin}")]
    Run {
        /// Its name.
        plugin: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("credential provider {plugin} has not answered within {after:?}, and was killed")]
    TimedOut {
        /// Its name.
        plugin: String,
        /// The limit.
        after: Duration,
    },
    /// It ended with an error.
    #[error("credential provider {plugin} failed, {status}: {message}")]
    Failed {
        /// Its name.
        plugin: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        message: String,
    },
    /// It answered without end.
    #[error("credential provider {plugin} answered with more than {limit} bytes")]
    TooLong {
        /// Its name.
        plugin: String,
        /// The limit.
        limit: usize,
    },
    /// Its answer is none.
    #[error("credential provider {plugin} gave an answer that cannot be read: {reason}")]
    Answer {
        /// Its name.
        plugin: String,
        /// What is wrong with it, without a word of it.
        reason: String,
    },
}
