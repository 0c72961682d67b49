//! `cargo xtask test`: formatting, lints, walls, dependencies, and every test, those on real parts included.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use larder_tests::larder;

use crate::{deny, say, sudo, walls};

pub(crate) fn run() -> Result<()> {
    install_tools()?;
    step("cargo fmt", || cargo(&["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step("cargo clippy", || cargo(&clippy))?;
    step("walls", walls::check)?;
    step("cargo deny", deny::check)?;
    step("tests", tests)
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(format_args!("== {name}"));
    let started = Instant::now();
    work().with_context(|| name.to_owned())?;
    say(format_args!("== {name}: passed in {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Every test of the workspace; on a machine where this is not root, the test programs run through sudo.
fn tests() -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).env(larder::BINARY, sudo::built()?);
    if !sudo::is_root() {
        command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", sudo::SUDO.join(" "));
    }
    finish(&mut command)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    finish(Command::new("cargo").args(arguments))
}

fn finish(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// The programs of the machine that the tests judge by; Debian's minimal images lack them.
const TOOLS: [(&str, &str); 4] =
    [("e2fsck", "e2fsprogs"), ("losetup", "mount"), ("setpriv", "util-linux"), ("dpkg-deb", "dpkg")];

fn install_tools() -> Result<()> {
    let there = |tool: &str| {
        let directories = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        directories.iter().any(|directory| std::path::Path::new(directory).join(tool).exists())
    };
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| !there(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(format_args!("installing {}", missing.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if sudo::is_root() { "env" } else { sudo::SUDO[0] });
        finish(command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).args(arguments))
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"][..], &missing].concat())
}
