//! A real registry (docker-registry) on a loopback port of its own, with what it was asked for.

mod log;
mod push;
pub(crate) mod tls;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use larder_core::{Digest, ImageRef};

pub use log::Request;

use crate::blocking::wait;
use crate::debian::Suite;
use crate::image::{Image, MultiImage};
use crate::process::{Daemon, run, until};
use crate::workdir::Workdir;

/// A cold start on a busy machine; usually 50 ms.
const START: Duration = Duration::from_secs(20);
/// A line of the access log is written just after its answer was sent.
const LOGGED: Duration = Duration::from_secs(5);
/// Marks the lab's own requests in the log.
const USER_AGENT: &str = "larder-lab";

/// Hosts that are spoken to in plain HTTP.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A running registry; it ends, and its images with it, on drop.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    address: String,
    tls: Option<tls::Files>,
    api: push::Api,
    _dir: Workdir,
}

/// A name and password of basic authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Without a colon.
    pub user: String,
    /// In clear.
    pub password: String,
}

impl Registry {
    /// An empty registry that anybody may use.
    pub fn start() -> Result<Self> {
        Self::start_with(None, false)
    }

    /// An empty registry that speaks TLS only, with a certificate of its own authority.
    pub fn start_with_tls() -> Result<Self> {
        Self::start_with(None, true)
    }

    /// An empty registry that wants basic authentication for everything.
    pub fn start_with_basic_auth(credentials: Credentials) -> Result<Self> {
        Self::start_with(Some(credentials), false)
    }

    fn start_with(credentials: Option<Credentials>, tls: bool) -> Result<Self> {
        let program = Suite::Bookworm.package("docker-registry")?.file("usr/bin/docker-registry")?;
        let dir = Workdir::new()?;
        let config = dir.join("config.yml");
        let tls = tls.then(|| tls::Files::make(&dir)).transpose()?;
        fs::write(&config, configuration(&dir, credentials.as_ref(), tls.as_ref())?)
            .context("write the registry's configuration")?;
        let mut daemon = Daemon::spawn(Command::new(program).arg("serve").arg(config), &dir.join("log"))?;
        let log = dir.join("log");
        let address =
            daemon.ready(START, || address(&fs::read_to_string(&log)?).context("it does not listen yet"))?;
        let mut http = reqwest::Client::builder().user_agent(USER_AGENT).no_proxy();
        if let Some(tls) = &tls {
            http = http.tls_certs_only(reqwest::Certificate::from_pem_bundle(&fs::read(&tls.authority)?)?);
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        let api = push::Api::new(http.build()?, &format!("{scheme}://{address}/"), credentials)?;
        Ok(Self { daemon, address, tls, api, _dir: dir })
    }

    /// The PEM file with the authority that vouches for it; none for a registry of plain HTTP.
    pub fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.authority.as_path())
    }

    /// Where it listens: `127.0.0.1:40123`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The reference of `name`, such as `team/app:1`, in this registry.
    pub fn reference(&self, name: &str) -> Result<ImageRef> {
        let text = format!("{}/{name}", self.address);
        text.parse().with_context(|| format!("image reference {text}"))
    }

    /// Pushes `image` as `name` and returns its reference; blobs that are there already are not sent again.
    pub fn push(&self, image: &Image, name: &str) -> Result<ImageRef> {
        let reference = self.reference(name)?;
        wait(self.api.push_image(image, &reference)).with_context(|| format!("push {reference}"))?;
        Ok(reference)
    }

    /// Pushes an index with its images as `name`.
    pub fn push_multi(&self, images: &MultiImage, name: &str) -> Result<ImageRef> {
        let reference = self.reference(name)?;
        wait(self.api.push_index(images, &reference)).with_context(|| format!("push {reference}"))?;
        Ok(reference)
    }

    /// What others have asked for so far, in the order of answers.
    pub fn requests(&self) -> Result<Vec<Request>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let marker = format!("/v2/?marker={}", NEXT.fetch_add(1, Ordering::Relaxed));
        wait(self.api.get(&marker))?;
        until("the registry's log", LOGGED, || {
            let requests = log::parse(&self.daemon.log()?);
            ensure!(
                requests.iter().any(|request| request.path == marker),
                "the log lacks the latest request"
            );
            Ok(requests.into_iter().filter(|request| request.user_agent != USER_AGENT).collect())
        })
    }

    /// The digests of the blobs that were sent after the first `since` requests.
    pub fn blob_gets(&self, since: usize) -> Result<Vec<Digest>> {
        let requests = self.requests()?;
        Ok(requests.iter().skip(since).filter_map(Request::blob_sent).collect())
    }
}

/// Pushes `image` to any registry: over TLS, but for this machine's own, which have none. Token servers are not asked.
pub fn push(image: &Image, to: &ImageRef, credentials: Option<Credentials>) -> Result<()> {
    let host = to.registry();
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let scheme = if LOOPBACK.contains(&name) { "http" } else { "https" };
    let http = reqwest::Client::builder().user_agent(USER_AGENT).build()?;
    let api = push::Api::new(http, &format!("{scheme}://{host}/"), credentials)?;
    wait(api.push_image(image, to)).with_context(|| format!("push {to}"))
}

fn configuration(
    dir: &Workdir,
    credentials: Option<&Credentials>,
    tls: Option<&tls::Files>,
) -> Result<String> {
    let storage = dir.join("storage");
    let tls = tls.map(|tls::Files { certificate, key, .. }| {
        format!(", tls: {{certificate: '{}', key: '{}'}}", certificate.display(), key.display())
    });
    let mut yaml = format!(
        "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'{}}}\n\
         storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n",
        tls.unwrap_or_default(),
        storage.display()
    );
    if let Some(credentials) = credentials {
        let users = dir.join("htpasswd");
        fs::write(&users, htpasswd(credentials)?).context("write the registry's users")?;
        writeln!(yaml, "auth: {{htpasswd: {{realm: lab, path: '{}'}}}}", users.display())?;
    }
    Ok(yaml)
}

/// The registry takes bcrypt only; the C library's crypt(3) does that, and every Debian has perl to call it.
fn htpasswd(Credentials { user, password }: &Credentials) -> Result<String> {
    let script = "print crypt($ENV{PASSWORD}, '$2y$05$larderslabsaltofsixte.')";
    let hash = run(Command::new("perl").args(["-e", script]).env("PASSWORD", password))?;
    ensure!(hash.starts_with("$2y$"), "this machine's crypt(3) knows no bcrypt");
    Ok(format!("{user}:{hash}\n"))
}

fn address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("msg=\"listening on ")?;
    // "127.0.0.1:40123", or "127.0.0.1:40123, tls".
    Some(rest.split_once(['"', ','])?.0.to_owned())
}
