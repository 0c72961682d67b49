//! Mounts and containers need root; building does not. Who is not root gets only the former through sudo.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_tests::larder;

/// Whether this process has root's rights already.
pub(crate) fn is_root() -> bool {
    larder_tests::require_root().is_ok()
}

/// What keeps the variables that tests and demo read, run through sudo.
pub(crate) const SUDO: [&str; 2] = ["sudo", "--preserve-env"];

/// The binary under test, built with this user's rights; tests that run as root take it from [`larder::BINARY`].
pub(crate) fn built() -> Result<PathBuf> {
    larder::binary()
}

/// Runs `work` as root: here, or in this same program started again through sudo.
pub(crate) fn as_root(work: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_root() {
        return work();
    }
    let own = std::env::current_exe().context("find this program")?;
    let [sudo, keep] = SUDO;
    let mut command = Command::new(sudo);
    command.arg(keep).arg(own).args(std::env::args_os().skip(1)).env(larder::BINARY, built()?);
    let status = command.status().context("start sudo: run this as root where there is none")?;
    ensure!(status.success(), "it failed as root: {status}");
    Ok(())
}
