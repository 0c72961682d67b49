//! A program that runs beside the lab, logs to a file, and ends with it in every case.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{argv, kill_tree, tail, until};

/// What a daemon may take to end by itself when asked; containerd takes about 0.1 s.
const STOP: Duration = Duration::from_secs(10);

/// A running daemon; dropping it kills it and its children.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    argv: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, which appends both its outputs to the file `log`.
    pub fn spawn(command: &Command, log: &Path) -> Result<Self> {
        let argv = argv(command);
        let open = || File::options().create(true).append(true).open(log);
        let mut bound = bound_to_us(command);
        bound.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        let child = spawn_from_lasting_thread(bound).with_context(|| format!("start {argv}"))?;
        Ok(Self { child, argv, log: log.to_owned() })
    }

    /// Asks `probe` until it answers, the daemon has ended, or `limit` is over; the error has the end of the log.
    pub fn ready<T>(&mut self, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
        let child = &mut self.child;
        let answer = until("not ready", limit, || match child.try_wait()? {
            Some(status) => Ok(Err(status)),
            None => probe().map(Ok),
        });
        let log = || format!("{}, its log ends: {}", self.argv, tail(&self.log().unwrap_or_default()));
        match answer.with_context(log)? {
            Ok(answer) => Ok(answer),
            Err(status) => bail!("ended at once, {status}: {}", log()),
        }
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits for that; children that have left it, such as shims, go on.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .with_context(|| format!("stop {}", self.argv))?;
        let child = &mut self.child;
        until(&format!("end of {}", self.argv), STOP, || child.try_wait()?.context("still running"))?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_tree(Pid::from_child(&self.child));
            // It is dead or dying; waiting only takes it off the process table.
            let _ = self.child.wait();
        }
    }
}

/// The same command, killed by the kernel when we die: a test that is killed runs no destructor.
fn bound_to_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

type Spawn = Box<dyn FnOnce() + Send>;

/// The kernel's death signal follows the thread that spawned, and a test's thread ends before its process does.
static SPAWNER: LazyLock<Sender<Spawn>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<Spawn>();
    std::thread::spawn(move || receiver.into_iter().for_each(|spawn| spawn()));
    sender
});

fn spawn_from_lasting_thread(mut command: Command) -> Result<Child> {
    let (answer, child) = sync_channel(1);
    let spawn: Spawn = Box::new(move || {
        // The receiver waits below, so sending cannot fail.
        let _ = answer.send(command.spawn());
    });
    SPAWNER.send(spawn).ok().context("the spawning thread has ended")?;
    Ok(child.recv()??)
}

#[cfg(test)]
mod tests {
    use super::super::kill::descendants;
    use super::super::processes;
    use super::*;

    #[test]
    fn a_daemon_outlives_the_thread_that_started_it_and_ends_with_its_guard() {
        let dir = tempfile::tempdir().unwrap();
        let script = ["-c", "sleep 600 & wait"];
        let start = || Daemon::spawn(Command::new("sh").args(script), &dir.path().join("log")).unwrap();
        let mut daemon = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
        let pid = Pid::from_child(&daemon.child);
        let started = || descendants(pid).first().copied().context("no child yet");
        let child = daemon.ready(Duration::from_secs(5), started).unwrap();
        drop(daemon);
        let alive = || processes().iter().any(|process| process.pid == child && process.argv[0] == "sleep");
        until("end of the child", STOP, || if alive() { bail!("alive") } else { Ok(()) }).unwrap();
    }

    #[test]
    fn a_daemon_that_ends_at_once_says_so_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let command = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let mut daemon = Daemon::spawn(&command("echo bad port; exit 7"), &dir.path().join("log")).unwrap();
        let never = || -> Result<()> { bail!("not there") };
        let error = format!("{:#}", daemon.ready(Duration::from_secs(5), never).unwrap_err());
        assert!(error.contains("exit status: 7") && error.ends_with("bad port"), "{error}");
    }
}
