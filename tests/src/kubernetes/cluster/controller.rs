//! `larder controller` as a process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::larder;
use crate::process::Daemon;
use crate::workdir::Workdir;

/// Until it has its port.
const START: Duration = Duration::from_secs(30);
const TOLD: &str = "metrics and health are told at ";

/// A running controller; it is killed on drop.
#[derive(Debug)]
pub struct Controller {
    daemon: Daemon,
    metrics: String,
    _dir: Workdir,
}

impl Controller {
    /// Starts a replica by the name `pod`.
    pub fn start(kubeconfig: &Path, pod: &str, flags: &[&str]) -> Result<Self> {
        let dir = Workdir::new()?;
        let mut command = larder::command()?;
        command.arg("controller").arg("--kubeconfig").arg(kubeconfig);
        command.args(["--metrics-address", "127.0.0.1:0", "--lease-namespace", "default"]).args(flags);
        command.env("POD_NAME", pod);
        let mut daemon = Daemon::spawn(&command, &dir.join("controller.log"))?;
        let log = dir.join("controller.log");
        let metrics = daemon.ready(START, || {
            let text = std::fs::read_to_string(&log)?;
            let rest = text.split_once(TOLD).context("it has not told its address")?.1;
            Ok(rest.split_once('\n').context("it has not told it whole")?.0.trim().to_owned())
        })?;
        Ok(Self { daemon, metrics, _dir: dir })
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        self.daemon.log()
    }

    /// Where it tells of its metrics.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// Its process id.
    pub fn pid(&self) -> Result<Pid> {
        i32::try_from(self.daemon.pid()).ok().and_then(Pid::from_raw).context("a process id")
    }

    /// Ends it with SIGKILL.
    pub fn kill(self) -> Result<()> {
        kill_process(self.pid()?, Signal::KILL).context("kill the controller")
    }

    /// Ends it with SIGTERM; within the 10 s of `Daemon::stop`.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}
