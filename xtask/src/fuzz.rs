//! `cargo xtask fuzz`: the fuzz targets of larder-disk and larder-registry, for longer than the tests run them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// What to fuzz; everything when left out
    target: Option<Target>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which changes are made: the same seed makes the same ones; chosen by the clock when left out
    #[arg(long)]
    seed: Option<u64>,
}

/// A reader of foreign bytes.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// Archives that become layers, on disks that e2fsck judges
    Layer,
    /// Compressed streams
    Inflate,
    /// Manifests, indexes, configurations and references; and a disk's own metadata
    Documents,
    /// File systems
    Disk,
    /// What `docker save` writes
    Archive,
}

pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    let module = match fuzz.target {
        None => "fuzz::",
        Some(Target::Layer) => "fuzz::layer::",
        Some(Target::Inflate) => "fuzz::inflate::",
        Some(Target::Documents) => "fuzz::documents::",
        Some(Target::Disk) => "fuzz::disk::",
        Some(Target::Archive) => "fuzz::docker_archives",
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--release",
            "--quiet",
            "--package",
            "larder-disk",
            "--package",
            "larder-registry",
            "--lib",
            module,
            "--",
            "--nocapture",
        ])
        .env("LARDER_FUZZ_SECONDS", fuzz.seconds.to_string())
        .env("LARDER_FUZZ_SEED", fuzz.seed.unwrap_or(now).to_string());
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "an input was found that fails");
    Ok(())
}
