//! `larder hydrate`, in the foreground, and started in the background by attach.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use larder_core::{ByteSize, Digest};
use larder_node::{DiskSelector, HydrateOptions, HydrateOutcome, HydrateProgress};
use tokio::runtime::Runtime;

use crate::cli::{AttachHydrateArgs, HydrateArgs};
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;

pub(super) fn run(args: HydrateArgs) -> anyhow::Result<Exit> {
    let HydrateArgs { disk, rate, state_dir, quiet } = args;
    let selector = DiskSelector::parse(&disk)?;
    let options = HydrateOptions { state_dir, rate: rate.map(|ByteSize(rate)| rate) };
    let bar = if quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { progress_bar() };
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let mut worker = {
        let (bar, stop) = (bar.clone(), Arc::clone(&stop));
        let mut show = move |seen: HydrateProgress| {
            bar.set_length(seen.total);
            bar.set_position(seen.read);
        };
        runtime.spawn_blocking(move || larder_node::hydrate(&options, &selector, &stop, &mut show))
    };
    let ended = runtime.block_on(async {
        let interrupted = or_interrupted(async { Ok((&mut worker).await) }).await;
        if interrupted.is_err() {
            stop.store(true, Ordering::Relaxed);
            worker.await.context("the thread that reads")?.context("stopping")?;
        }
        interrupted
    });
    bar.finish_and_clear();
    let outcome = ended?.context("the thread that reads")?.with_context(|| format!("disk {disk}"))?;
    Ok(say(&disk, &outcome))
}

fn say(disk: &str, outcome: &HydrateOutcome) -> Exit {
    match outcome {
        HydrateOutcome::Done(seen) => printer::talk(format_args!("disk {disk}: {}", read(seen))),
        HydrateOutcome::AlreadyDone => printer::talk(format_args!("disk {disk}: read already")),
        HydrateOutcome::AlreadyRunning => {
            printer::talk(format_args!("disk {disk}: another process is reading it"));
        }
        HydrateOutcome::DiskGone(seen) | HydrateOutcome::Stopped(seen) => {
            printer::talk(format_args!("error: disk {disk} went away: {}", read(seen)));
            return Exit::Failed;
        }
    }
    Exit::Done
}

fn read(seen: &HydrateProgress) -> String {
    let HydrateProgress { read, total, rate } = seen;
    format!("{} of {} read, {} a second", ByteSize(*read), ByteSize(*total), ByteSize(*rate))
}

/// The template is a constant; a mistake in it gives the default bar.
fn progress_bar() -> ProgressBar {
    let template = "reading [{bar:40}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Starts reading an attached disk in a process of its own, which outlives this one, also when the terminal interrupts it.
pub(super) fn start(args: AttachHydrateArgs, state_dir: &Path, disk: Digest) -> anyhow::Result<()> {
    let AttachHydrateArgs { hydrate, hydrate_rate } = args;
    if !hydrate {
        return Ok(());
    }
    // By this name it is found in another mount namespace, too.
    let mut worker = Command::new("/proc/self/exe");
    worker.arg("hydrate").arg(disk.to_string()).arg("--quiet").arg("--state-dir").arg(state_dir);
    if let Some(ByteSize(rate)) = hydrate_rate {
        worker.arg("--rate").arg(rate.to_string());
    }
    worker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    worker.spawn().context("cannot start larder hydrate")?;
    printer::talk(format_args!("disk {disk}: being read in the background, see larder status --node"));
    Ok(())
}
