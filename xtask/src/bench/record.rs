//! What makes a figure worth keeping: the machine, the commit, and an optimised binary.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_tests::process::run;
use serde::Serialize;

use crate::say;

/// The optimised binary, freshly built.
pub(super) fn release_binary() -> Result<PathBuf> {
    say("building larder, optimised");
    let status =
        Command::new("cargo").args(["build", "--release", "--quiet", "--package", "larder"]).status();
    ensure!(status.context("run cargo")?.success(), "larder cannot be built");
    let own = std::env::current_exe().context("find this program")?;
    Ok(own.with_file_name("larder"))
}

/// Writes `results` to bench/`name`.json in the checkout.
pub(super) fn keep(name: &str, results: &impl Serialize) -> Result<()> {
    let processor = fs::read_to_string("/proc/cpuinfo").context("read the processor's name")?;
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let record = serde_json::json!({
        "commit": run(Command::new("git").args(["describe", "--always", "--dirty"]))?.trim(),
        "processor": processor.trim_start_matches([' ', '\t', ':']),
        "processors": std::thread::available_parallelism().context("count the processors")?.get(),
        "kernel": run(Command::new("uname").arg("-r"))?.trim(),
        "results": results,
    });
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("bench").join(format!("{name}.json"));
    fs::create_dir_all(path.parent().context("a directory")?).context("create bench/")?;
    fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
        .with_context(|| format!("write {}", path.display()))
}
