//! Processes of `larder aggregate-metrics` and `larder sleep`, and clients that know their protocols by themselves: the messages here
//! are written after image-prefetcher's, not generated from Larder's own description.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream;
use larder_tests::larder;
use larder_tests::process::{Daemon, until};
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

pub(crate) const MIB: u64 = 1 << 20;
const START: Duration = Duration::from_secs(20);

/// `Result` on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sample {
    #[prost(string, tag = "1")]
    pub(crate) attempt_id: String,
    #[prost(int64, tag = "2")]
    pub(crate) started_at: i64,
    #[prost(string, tag = "3")]
    pub(crate) image: String,
    #[prost(string, tag = "4")]
    pub(crate) error: String,
    #[prost(uint64, tag = "5")]
    pub(crate) duration_ms: u64,
    #[prost(string, tag = "6")]
    pub(crate) node: String,
    #[prost(uint64, tag = "7")]
    pub(crate) size_bytes: u64,
}

/// Whatever a message holds: its fields stay unknown.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Nothing {}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Sends `samples` in one stream to `/Metrics/Submit` of `address`; the answer's encoded fields.
pub(crate) fn raw_submit(address: &str, samples: Vec<Sample>) -> Result<Vec<u8>, Status> {
    runtime().block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let request = Request::new(stream::iter(samples));
        let codec = tonic_prost::ProstCodec::<Sample, Nothing>::default();
        let path = "/Metrics/Submit".parse().unwrap();
        let answer = client.client_streaming(request, path, codec).await?;
        Ok(answer.into_inner().encode_to_vec())
    })
}

/// An answer of HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) text: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A running aggregator on ports of its own.
pub(crate) struct Aggregating {
    daemon: Option<Daemon>,
    pid: u32,
    pub(crate) grpc: String,
    pub(crate) http: String,
    client: reqwest::Client,
    scheme: &'static str,
    dir: tempfile::TempDir,
}

impl Aggregating {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, reqwest::Client::builder(), "http")
    }

    pub(crate) fn start_with_tls(arguments: &[&str], tls: &Tls) -> Self {
        let authority = reqwest::Certificate::from_pem(&fs::read(tls.authority()).unwrap()).unwrap();
        Self::start_with(arguments, reqwest::Client::builder().tls_certs_only([authority]), "https")
    }

    fn start_with(arguments: &[&str], client: reqwest::ClientBuilder, scheme: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = larder::command().unwrap();
        command.args(["aggregate-metrics", "--bind", "127.0.0.1", "--http-port", "0"]);
        if !arguments.contains(&"--grpc-port") {
            command.args(["--grpc-port", "0"]);
        }
        command.args(arguments);
        let mut daemon = Daemon::spawn(&command, &dir.path().join("log")).unwrap();
        let log = dir.path().join("log");
        let (grpc, http) = daemon
            .ready(START, || {
                let log = fs::read_to_string(&log)?;
                let (_, rest) = log.split_once("results are taken at ").context("it does not listen yet")?;
                let (grpc, rest) = rest.split_once(", and told of at ").context("half a line")?;
                let (http, _) = rest.split_once('\n').context("half a line")?;
                Ok((grpc.to_owned(), http.to_owned()))
            })
            .unwrap();
        let pid = daemon.pid();
        let client = client.no_proxy().build().unwrap();
        Self { daemon: Some(daemon), pid, grpc, http, client, scheme, dir }
    }

    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.get(format!("{}://{}{path}", self.scheme, self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        runtime().block_on(async {
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            Answer { status, kind: kind.unwrap_or_default(), text: answer.text().await.unwrap(), headers }
        })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to end; it must, within seconds.
    pub(crate) fn stop(&mut self) {
        self.daemon.take().unwrap().stop().unwrap();
    }
}

/// A process of larder that is waited for.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self(larder::command().unwrap().args(arguments).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its exit status after `signal`.
    pub(crate) fn end_with(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        until("its end", Duration::from_secs(15), || self.0.try_wait()?.context("still running"))
            .unwrap()
            .code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, unless a test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority and a certificate of it for the loopback address.
pub(crate) struct Tls {
    dir: tempfile::TempDir,
    files: [String; 3],
}

impl Tls {
    pub(crate) fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer);
        let pems = [authority_pem, certificate.unwrap().pem(), key.serialize_pem()];
        let names = ["authority.pem", "certificate.pem", "key.pem"];
        let paths = names.map(|name| dir.path().join(name));
        for (path, pem) in paths.iter().zip(pems) {
            fs::write(path, pem).unwrap();
        }
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        Self { dir, files: paths.map(text) }
    }

    pub(crate) fn authority(&self) -> &Path {
        Path::new(&self.files[0])
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.files[1]
    }

    pub(crate) fn key(&self) -> &str {
        &self.files[2]
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}
