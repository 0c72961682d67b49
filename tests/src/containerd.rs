//! A real containerd with CRI and runc, apart from any other on the machine: own directories, socket and configuration.

mod config;
mod container;
mod cri;
mod snapshots;
mod user_namespace;
mod version;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub use container::{Container, Finished};
pub use version::Version;

use crate::blocking::wait;
use crate::debian::{Package, Suite};
use crate::image::{Compression, Entry, ImageBuilder, busybox};
use crate::process::{Daemon, run};
use crate::workdir::Workdir;
use cri::Cri;

/// The namespace that CRI keeps its images in.
pub const NAMESPACE: &str = "k8s.io";
/// A cold start on a busy machine; usually 0.3 s.
const START: Duration = Duration::from_secs(30);
/// The longest calls unpack an image of gigabytes.
const CALL: Duration = Duration::from_mins(5);
/// What every pod's sandbox runs; a pause that ends would end the pod.
const PAUSE: &str = "larder.test/pause:1";
const PAUSE_COMMAND: [&str; 3] = ["/bin/busybox", "sleep", "1000000000"];

/// A running containerd; dropping it ends it with all containers, and removes all that it stored.
#[derive(Debug)]
pub struct Containerd {
    daemon: Option<Daemon>,
    package: Package,
    cri: Cri,
    dir: Workdir,
}

impl Containerd {
    /// Starts an empty one, and returns once it answers CRI calls.
    pub fn start(version: Version) -> Result<Self> {
        Self::start_in(Workdir::new()?, version, &runc()?)
    }

    /// The same for pods with mapped users, by [`Self::start_container_with_mapped_users`].
    pub fn start_for_mapped_users(version: Version) -> Result<Self> {
        let dir = Workdir::new()?;
        let runc = user_namespace::prepare(dir.path(), &runc()?)?;
        Self::start_in(dir, version, &runc)
    }

    fn start_in(dir: Workdir, version: Version, runc: &Path) -> Result<Self> {
        crate::require_root()?;
        let package = version.package()?;
        fs::write(dir.join("config.toml"), config::toml(dir.path(), runc))
            .context("write containerd's configuration")?;
        let cri = Cri::new(wait(channel(dir.join("containerd.sock"))), &dir);
        let mut containerd = Self { daemon: None, package, cri, dir };
        containerd.launch()?;
        containerd.import_pause()?;
        Ok(containerd)
    }

    /// Ends it as a service manager does, and starts it again on the same state; containers go on meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop()?;
        }
        self.launch()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Its root directory (`/var/lib/containerd` elsewhere).
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Its exact Debian version: `1.6.20~ds1-1+deb12u3`.
    pub fn version(&self) -> &str {
        &self.package.version
    }

    /// Whether it is of this minor version.
    pub fn is(&self, version: Version) -> bool {
        self.version().starts_with(&format!("{version}."))
    }

    /// The daemon's process.
    pub fn pid(&self) -> Result<u32> {
        self.daemon.as_ref().map(Daemon::pid).context("containerd does not run")
    }

    /// What it has logged since its first start.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.dir.join("log")).context("read containerd's log")
    }

    /// Runs the `ctr` of the same version in CRI's namespace, and returns what it prints.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut ctr = Command::new(self.package.file("usr/bin/ctr")?);
        ctr.arg("--address").arg(self.socket()).args(["--namespace", NAMESPACE]).args(arguments);
        run(&mut ctr)
    }

    /// A channel to its socket, for calls that the lab does not wrap; it reconnects by itself after a restart.
    pub fn channel(&self) -> Channel {
        self.cri.channel.clone()
    }

    fn launch(&mut self) -> Result<()> {
        let bin = self.package.root.join("usr/bin");
        let mut command = Command::new(bin.join("containerd"));
        command.arg("--config").arg(self.dir.join("config.toml"));
        // It finds its shim by name.
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
        let mut daemon = Daemon::spawn(&command, &self.dir.join("log"))?;
        daemon.ready(START, || wait(self.cri.ready()))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn import_pause(&self) -> Result<()> {
        let archive = self.dir.join("pause.tar");
        // A layer that no test's image has, so that the sandbox brings nothing for them.
        let layer = busybox()?.entry(Entry::file("pause", "")).build(Compression::None)?;
        let image = ImageBuilder::default().layer(&layer).entrypoint(&PAUSE_COMMAND).build();
        image.write_docker_archive(&archive, PAUSE)?;
        self.ctr(&["images", "import", &archive.to_string_lossy()])?;
        fs::remove_file(archive).context("remove the pause image's archive")?;
        self.cri.image_seen(PAUSE)
    }
}

fn runc() -> Result<PathBuf> {
    Suite::Bookworm.package("runc")?.file("usr/sbin/runc")
}

/// Runs `test` with a new containerd of every version, all at once; an error says which one it is about.
pub fn on_each(test: impl Fn(&mut Containerd) -> Result<()> + Sync) -> Result<()> {
    let one = |version| {
        let mut containerd = Containerd::start(version)?;
        test(&mut containerd)
    };
    std::thread::scope(|scope| {
        let running = Version::ALL.map(|version| (version, scope.spawn(move || one(version))));
        running.into_iter().try_for_each(|(version, thread)| {
            let outcome = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.with_context(|| format!("on containerd {version}"))
        })
    })
}

/// Async, for it starts a task; the connection is made with the first call.
#[expect(clippy::unused_async, reason = "a task is started within a runtime only")]
async fn channel(socket: PathBuf) -> Channel {
    let connect = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used; gRPC wants one.
    Endpoint::from_static("http://localhost").timeout(CALL).connect_with_connector_lazy(connect)
}
