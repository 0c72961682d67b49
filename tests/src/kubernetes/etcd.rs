//! The API server's store.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::free_port;
use crate::process::Daemon;
use crate::workdir::Workdir;

/// A cold start on a busy machine; usually 0.5 s.
const START: Duration = Duration::from_mins(1);

/// A running etcd without members but itself; it ends on drop.
#[derive(Debug)]
pub(super) struct Etcd {
    _daemon: Daemon,
    address: String,
}

impl Etcd {
    pub(super) fn start(program: &Path, dir: &Workdir) -> Result<Self> {
        let (address, peers) = (local(free_port()?), local(free_port()?));
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(dir.join("etcd"));
        command.args(["--listen-client-urls", &address, "--advertise-client-urls", &address]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        // What is stored here need not survive the machine.
        command.arg("--unsafe-no-fsync");
        let mut daemon = Daemon::spawn(&command, &dir.join("etcd.log"))?;
        let socket = address.trim_start_matches("http://");
        daemon.ready(START, || std::net::TcpStream::connect(socket).context("it does not listen yet"))?;
        Ok(Self { _daemon: daemon, address })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
