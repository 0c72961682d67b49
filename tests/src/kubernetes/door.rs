//! A door before the API server: plain HTTP that is passed on over TLS. It counts the writes that come by, leases apart, and does
//! something when a certain one does, such as ending whoever asks; the write itself is passed on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::{ApiServer, kubeconfig_of};
use crate::blocking::wait;
use crate::workdir::Workdir;

type Act = Box<dyn FnOnce() + Send>;

/// An open door; it closes on drop.
pub struct Door {
    kubeconfig: PathBuf,
    passage: Arc<Passage>,
    listening: AbortHandle,
    _dir: Workdir,
}

struct Passage {
    upstream: String,
    tls: TlsConnector,
    writes: AtomicUsize,
    act: Mutex<Option<(usize, Act)>>,
}

impl Door {
    /// Opens a door to `server`.
    pub fn open(server: &ApiServer) -> Result<Self> {
        let dir = Workdir::new()?;
        let upstream =
            server.address().strip_prefix("https://").context("an API server without TLS")?.to_owned();
        let tls = connector(&server.authority)?;
        let passage = Passage { upstream, tls, writes: AtomicUsize::new(0), act: Mutex::new(None) };
        let passage = Arc::new(passage);
        let shared = Arc::clone(&passage);
        let (address, listening) = wait(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            anyhow::Ok((address, tokio::spawn(accept(listener, shared)).abort_handle()))
        })?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_of(&format!("http://{address}"), None))?;
        Ok(Self { kubeconfig, passage, listening, _dir: dir })
    }

    /// A kubeconfig of the administrator that leads through the door.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// How many writes have come by.
    pub fn writes(&self) -> usize {
        self.passage.writes.load(Ordering::SeqCst)
    }

    /// Does `act` when the write number `at` from now on, counted from 1, comes by.
    pub fn act_at(&self, at: usize, act: impl FnOnce() + Send + 'static) {
        *self.passage.act.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((self.writes() + at, Box::new(act)));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn connector(authority: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

async fn accept(listener: TcpListener, passage: Arc<Passage>) {
    while let Ok((client, _)) = listener.accept().await {
        let passage = Arc::clone(&passage);
        // A client that is ended ends its connection, and nothing else.
        tokio::spawn(async move { passage.serve(client).await });
    }
}

impl Passage {
    async fn serve(&self, client: TcpStream) -> Result<()> {
        let server = TcpStream::connect(&self.upstream).await?;
        let server = self.tls.connect(ServerName::try_from("127.0.0.1")?, server).await?;
        let (mut answers, mut requests) = tokio::io::split(server);
        let (from_client, mut to_client) = client.into_split();
        tokio::select! {
            passed = self.pass(BufReader::new(from_client), &mut requests) => passed,
            copied = tokio::io::copy(&mut answers, &mut to_client) => copied.map(drop).map_err(Into::into),
        }
    }

    /// Passes requests on, one by one; a write is seen before it is passed on.
    async fn pass(
        &self,
        mut client: BufReader<tokio::net::tcp::OwnedReadHalf>,
        server: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> Result<()> {
        loop {
            let (mut request, mut length) = (Vec::new(), 0);
            let mut line = String::new();
            while client.read_line(&mut line).await? > 0 {
                request.extend_from_slice(line.as_bytes());
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse()?;
                } else if lower.starts_with("transfer-encoding:") {
                    bail!("a request without a length");
                }
                if line == "\r\n" {
                    break;
                }
                line.clear();
            }
            if request.is_empty() {
                return Ok(());
            }
            let head = request.len();
            request.resize(head + length, 0);
            client.read_exact(&mut request[head..]).await?;
            self.see(&request);
            server.write_all(&request).await?;
            server.flush().await?;
        }
    }

    fn see(&self, request: &[u8]) {
        let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        if line.starts_with("GET ") || line.contains("/leases") || line.contains("/events") {
            return;
        }
        let count = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let mut act = self.act.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, act)) = act.take_if(|(at, _)| *at == count) {
            act();
        }
    }
}
