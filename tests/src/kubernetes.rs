//! A real Kubernetes API server with its etcd, on loopback ports of their own. No kubelet, no controllers, no scheduler: objects
//! are stored, checked and watched, and nothing acts on them.
//!
//! The programs are those in `$KUBEBUILDER_ASSETS` where that is set, the convention of envtest; else etcd from Debian and an API
//! server 1.20.2 built from Debian's source, once a machine.

mod build;
mod cluster;
mod door;
mod etcd;
mod programs;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::blocking::{enter, wait};
use crate::process::Daemon;
use crate::registry::tls;
use crate::workdir::Workdir;
pub use cluster::{Agents, Cluster, Controller};
pub use door::Door;

use etcd::Etcd;
use programs::Programs;

/// About 4 s on an idle machine.
const START: Duration = Duration::from_mins(2);
/// For one question whether it is ready.
const PROBE: Duration = Duration::from_secs(5);
/// Somebody else may take a port between its choice and its use.
const TRIES: u32 = 3;
/// Opens everything; it never leaves this machine.
const TOKEN: &str = "the-labs-administrator";

/// A running API server; it ends, and all objects with it, on drop.
#[derive(Debug)]
pub struct ApiServer {
    daemon: Daemon,
    address: String,
    config: Config,
    kubeconfig: PathBuf,
    authority: PathBuf,
    command: Command,
    http: reqwest::Client,
    _etcd: Etcd,
    dir: Workdir,
}

impl ApiServer {
    /// An API server without objects but its own. Whoever comes with its kubeconfig may do anything; role-based access
    /// control is on for everybody else.
    pub fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let mut tries = 1;
        loop {
            match Self::try_start(&programs) {
                Err(error) if tries < TRIES && format!("{error:#}").contains("address already in use") => {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    fn try_start(programs: &Programs) -> Result<Self> {
        let dir = Workdir::new()?;
        let etcd = Etcd::start(&programs.etcd, &dir)?;
        let tls = tls::Files::make(&dir)?;
        let port = free_port()?;
        let address = format!("https://127.0.0.1:{port}");
        fs::write(dir.join("tokens.csv"), format!("{TOKEN},administrator,1,system:masters\n"))?;
        let mut command = Command::new(&programs.api_server);
        command.args(arguments(&dir, &tls, etcd.address(), port));
        let mut daemon = Daemon::spawn(&command, &dir.join("api-server.log"))?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_of(&address, Some(&tls.authority)))
            .context("write the kubeconfig")?;
        let config = wait(read(&kubeconfig))?;
        let http = reqwest::Client::builder().no_proxy().timeout(PROBE);
        let authority = reqwest::Certificate::from_pem_bundle(&fs::read(&tls.authority)?)?;
        let http = http.tls_certs_only(authority).build()?;
        daemon.ready(START, || wait(probe(&http, &address)))?;
        let authority = tls.authority;
        Ok(Self { daemon, address, config, kubeconfig, authority, command, http, _etcd: etcd, dir })
    }

    /// Ends it at once, and starts it again on the same port, with all its objects, after `away`.
    pub fn away(&mut self, away: Duration) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::KILL).context("end the API server")?;
        std::thread::sleep(away);
        self.daemon = Daemon::spawn(&self.command, &self.dir.join("api-server.log"))?;
        let (http, address) = (&self.http, &self.address);
        self.daemon.ready(START, || wait(probe(http, address)))
    }

    /// Its URL: `https://127.0.0.1:40123`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The administrator's client.
    pub fn client(&self) -> Result<Client> {
        client(self.config.clone())
    }

    /// The client of `user`, such as `system:serviceaccount:default:larder`, who may do what roles allow, and no more.
    pub fn client_as(&self, user: &str) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        client(config)
    }

    /// Waits for one of its asynchronous calls.
    pub fn wait<F>(&self, future: F) -> F::Output
    where
        F: Future + Send,
        F::Output: Send,
    {
        wait(future)
    }
}

/// A client lives on the runtime that it is made on: the lab's own, which outlives every test's.
fn client(config: Config) -> Result<Client> {
    let _lab = enter();
    Client::try_from(config).context("make a client of the API server")
}

fn arguments(dir: &Workdir, tls: &tls::Files, etcd: &str, port: u16) -> Vec<String> {
    let option = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
    let file = |name: &str, path: &Path| option(name, &path.display());
    vec![
        option("etcd-servers", &etcd),
        option("bind-address", &"127.0.0.1"),
        option("advertise-address", &"127.0.0.1"),
        option("secure-port", &port),
        file("cert-dir", &dir.join("certificates")),
        file("tls-cert-file", &tls.certificate),
        file("tls-private-key-file", &tls.key),
        file("token-auth-file", &dir.join("tokens.csv")),
        option("authorization-mode", &"RBAC"),
        option("service-cluster-ip-range", &"10.96.0.0/16"),
        option("service-account-issuer", &"https://kubernetes.default.svc"),
        // It takes the public half of an elliptic key from its certificate only.
        file("service-account-key-file", &tls.certificate),
        file("service-account-signing-key-file", &tls.key),
        // Nobody makes service accounts here, and pods are to be accepted.
        option("disable-admission-plugins", &"ServiceAccount"),
        option("allow-privileged", &true),
        // The loopback address is no endpoint that may be published.
        option("endpoint-reconciler-type", &"none"),
    ]
}

fn kubeconfig_of(address: &str, authority: Option<&Path>) -> String {
    let cluster = json!({ "server": address, "certificate-authority": authority });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{ "name": "lab", "cluster": cluster }],
        "users": [{ "name": "administrator", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "administrator" } }],
    });
    // JSON is YAML.
    config.to_string()
}

async fn read(kubeconfig: &Path) -> Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

/// It is ready some time before the namespaces that everybody counts on are there.
async fn probe(http: &reqwest::Client, address: &str) -> Result<()> {
    for path in ["/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"] {
        let status = http.get(format!("{address}{path}")).bearer_auth(TOKEN).send().await?.status();
        ensure!(status.is_success(), "{path} answers {status}");
    }
    Ok(())
}

/// A port that nobody had a moment ago: neither program tells which one it was given.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
