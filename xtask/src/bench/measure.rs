//! Measures a program as a whole: wall time, CPU seconds, peak memory, and the bytes that it leaves beside its output.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use larder_tests::process::run_within;
use serde::Serialize;

/// No run takes longer.
const LIMIT: std::time::Duration = std::time::Duration::from_mins(20);

/// One run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) wall_seconds: f64,
    /// User and system time of the program and its children.
    pub(super) cpu_seconds: f64,
    pub(super) peak_memory_bytes: u64,
    /// Bytes on disk beside the output, at their most.
    pub(super) scratch_bytes: u64,
}

/// Runs a program, and asks the kernel what it used; Python's `resource` module is where every machine has that.
pub(super) fn program<S: AsRef<OsStr>>(
    argv: impl IntoIterator<Item = S>,
    directory: &Path,
) -> Result<Figures> {
    const WRAPPER: &str = "
import resource, subprocess, sys, time
begin = time.monotonic()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
wall = time.monotonic() - begin
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
sys.exit(status)
";
    let mut python = Command::new("python3");
    python.args(["-c", WRAPPER]).args(argv).current_dir(directory).env("TMPDIR", directory);
    let said = run_within(&mut python, LIMIT)?;
    let mut fields = said.split_whitespace().map(str::parse::<f64>);
    let mut next =
        || fields.next().context("the measuring wrapper said nothing")?.context("read its figures");
    let (wall_seconds, cpu_seconds, memory) = (next()?, next()?, next()?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
    let peak_memory_bytes = memory as u64;
    Ok(Figures { wall_seconds, cpu_seconds, peak_memory_bytes, scratch_bytes: 0 })
}

/// Seconds that `work` takes.
pub(super) fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begin = Instant::now();
    let done = work()?;
    Ok((begin.elapsed().as_secs_f64(), done))
}

/// The median of each figure by itself.
pub(super) fn median(runs: &[Figures]) -> Figures {
    let seconds = |of: fn(&Figures) -> f64| middle(runs.iter().map(of).collect());
    let bytes = |of: fn(&Figures) -> u64| {
        let mut values: Vec<u64> = runs.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        wall_seconds: seconds(|run| run.wall_seconds),
        cpu_seconds: seconds(|run| run.cpu_seconds),
        peak_memory_bytes: bytes(|run| run.peak_memory_bytes),
        scratch_bytes: bytes(|run| run.scratch_bytes),
    }
}

/// The median.
pub(super) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "some thousand at most")]
pub(super) fn as_float(count: usize) -> f64 {
    count as f64
}

/// Bytes that the files below `directory` occupy.
pub(super) fn disk_usage(directory: &Path) -> Result<u64> {
    let said = run_within(Command::new("du").args(["-s", "--block-size=1"]).arg(directory), LIMIT)?;
    said.split_whitespace().next().context("du said nothing")?.parse().context("read what du said")
}
