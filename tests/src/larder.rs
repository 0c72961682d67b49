//! The product under test: the `larder` binary of this checkout, freshly built.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::containerd::Containerd;
use crate::process::run_within;

/// A cold build of the binary.
const BUILD: std::time::Duration = std::time::Duration::from_mins(15);

/// What a command of the binary did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// The variable that names a binary to test; without it this checkout's is built.
pub const BINARY: &str = "LARDER_BINARY";

/// The path of the binary; built on the first call, so that no stale one is ever tested.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os(BINARY) {
        return Ok(path.into());
    }
    BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

/// A command of the binary, still without arguments.
pub fn command() -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.env_remove("LARDER_LOG");
    Ok(command)
}

/// Runs the binary to its end, whatever that is.
pub fn larder<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Ran> {
    finished(command()?.args(arguments))
}

/// Runs a command to its end, whatever that is.
pub fn finished(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } = command.output().context("run larder")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { status: status.code(), stdout: text(stdout), stderr: text(stderr) })
}

impl Ran {
    /// Its standard output, if it did what it was asked to.
    pub fn done(self) -> Result<String> {
        ensure!(self.status == Some(0), "larder ended with {:?}: {}", self.status, self.stderr);
        Ok(self.stdout)
    }
}

/// The arguments that name a containerd, with a state directory beside its own.
pub fn node_arguments(containerd: &Containerd) -> Vec<String> {
    let argument = |path: PathBuf| path.to_string_lossy().into_owned();
    let state = containerd.root().with_file_name("larder");
    vec!["--containerd".to_owned(), argument(containerd.socket()), "--state-dir".to_owned(), argument(state)]
}

fn build() -> Result<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&root).args([
        "build",
        "--package",
        "larder",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let messages = run_within(&mut cargo, BUILD)?;
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "larder").then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    messages.lines().find_map(executable).context("cargo built no binary named larder")
}
