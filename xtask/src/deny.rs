//! cargo-deny: what may be depended on, and whether anything is known to be wrong with it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_tests::cache;

use crate::say;

const VERSION: &str = "0.20.2";

/// Checks bans, licences and sources; advisories too where their database can be had.
pub(crate) fn check() -> Result<()> {
    let deny = || -> Result<Command> {
        let mut command = Command::new(installed()?);
        command.args(["--log-level", "warn"]);
        Ok(command)
    };
    let status = deny()?.args(["check", "bans", "licenses", "sources"]).status().context("run cargo-deny")?;
    ensure!(status.success(), "cargo-deny found something: {status}");
    let fetched = deny()?.args(["fetch", "db"]).output().context("run cargo-deny")?;
    if !fetched.status.success() {
        say("cargo-deny: advisories NOT RUN: their database cannot be reached from here");
        return Ok(());
    }
    let status =
        deny()?.args(["check", "--disable-fetch", "advisories"]).status().context("run cargo-deny")?;
    ensure!(status.success(), "cargo-deny knows an advisory: {status}");
    Ok(())
}

/// The program, built once a machine and kept in the cache.
fn installed() -> Result<std::path::PathBuf> {
    let root = cache::install(&format!("cargo-deny-{VERSION}"), |root| {
        say(format_args!("installing cargo-deny {VERSION}, once on this machine (some minutes)"));
        let mut cargo = Command::new("cargo");
        // Unoptimised: it is built more often than it is waited for.
        cargo
            .args(["install", "cargo-deny", "--locked", "--debug", "--quiet", "--version", VERSION, "--root"])
            .arg(root);
        cargo.env_remove("CARGO_TARGET_DIR");
        let status = cargo.status().context("run cargo install")?;
        ensure!(status.success(), "cargo-deny cannot be installed: {status}");
        Ok(())
    })?;
    Ok(root.join("bin/cargo-deny"))
}
