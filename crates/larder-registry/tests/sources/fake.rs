//! A registry of the tests' own on a loopback port: it answers each request as a closure says, and remembers it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder_core::{Blob, Digest, Platform, media_type};
use larder_registry::{Client, ClientOptions, PlainHttp, RetryPolicy, Timeouts};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What to answer, and how to fail at it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Close the connection after so many bytes of the body.
    CutAfter(usize),
    /// Send nothing more after so many bytes of the body.
    StallAfter(usize),
}

type Answer = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// A running registry; it ends with the test's runtime.
pub(crate) struct Registry {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), fault: Fault::None }
    }

    pub(crate) fn blob(blob: &Blob) -> Self {
        Self::new(200, blob.bytes.to_vec()).header("content-type", &blob.descriptor.media_type)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.fault = Fault::CutAfter(bytes);
        self
    }

    pub(crate) fn stall_after(mut self, bytes: usize) -> Self {
        self.fault = Fault::StallAfter(bytes);
        self
    }
}

impl Registry {
    /// Answers each request by `answer`, which is told how many requests for the same path came before.
    pub(crate) async fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                // A client that goes away ends its connection, and nothing else.
                tokio::spawn(async move { serve(stream, &*answer, &log).await });
            }
        });
        Self { host, seen }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests whose path contains `part`.
    pub(crate) fn requests_for(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(part)).collect()
    }
}

async fn serve(stream: TcpStream, answer: &Answer, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|earlier| earlier.path == request.path).count();
            log.push(request.clone());
            before
        };
        let reply = answer(&request, before);
        write_reply(&mut stream, &reply).await?;
        if !matches!(reply.fault, Fault::None) {
            break;
        }
    }
    Ok(())
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut request = Request { method, path, headers, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    request.body = String::from_utf8(body).unwrap();
    Ok(Some(request))
}

async fn write_reply(stream: &mut BufReader<TcpStream>, reply: &Reply) -> std::io::Result<()> {
    let length = ("content-length".to_owned(), reply.body.len().to_string());
    let headers = reply.headers.iter().chain([&length]).map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!("HTTP/1.1 {} Whatever\r\n{}\r\n", reply.status, headers.collect::<String>());
    stream.write_all(head.as_bytes()).await?;
    let sent = match reply.fault {
        Fault::None => reply.body.len(),
        Fault::CutAfter(bytes) | Fault::StallAfter(bytes) => bytes,
    };
    stream.write_all(&reply.body[..sent]).await?;
    stream.flush().await?;
    if matches!(reply.fault, Fault::StallAfter(_)) {
        // Longer than any test waits.
        tokio::time::sleep(Duration::from_mins(10)).await;
    }
    Ok(())
}

/// An image of one layer, for `linux/amd64`.
pub(crate) struct Sample {
    pub(crate) layer: Blob,
    pub(crate) config: Blob,
    pub(crate) manifest: Blob,
}

impl Sample {
    pub(crate) fn new(layer: Vec<u8>) -> Self {
        let layer = Blob::new(media_type::OCI_LAYER, layer);
        let config = json!({
            "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [layer.descriptor.digest]},
        });
        let config = Blob::new(media_type::OCI_CONFIG, config.to_string());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": config.descriptor, "layers": [layer.descriptor],
        });
        let manifest = Blob::new(media_type::OCI_MANIFEST, manifest.to_string());
        Self { layer, config, manifest }
    }

    pub(crate) fn blobs(&self) -> [&Blob; 3] {
        [&self.layer, &self.config, &self.manifest]
    }

    /// What a sound registry answers: tags lead to the manifest, everything else is found by digest.
    pub(crate) fn reply(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        let name = path.rsplit('/').next().unwrap();
        match name.parse::<Digest>() {
            Err(_) => Reply::blob(&self.manifest),
            Ok(digest) => {
                let found = self.blobs().into_iter().find(|blob| blob.descriptor.digest == digest);
                found.map_or_else(|| Reply::new(404, "{}"), Reply::blob)
            }
        }
    }
}

/// An index of `entries`, each with a platform or without.
pub(crate) fn index(entries: &[(&Blob, Option<&str>)]) -> Blob {
    let entry = |(blob, platform): &(&Blob, Option<&str>)| {
        let mut entry = serde_json::to_value(&blob.descriptor).unwrap();
        if let Some(platform) = platform {
            entry["platform"] = serde_json::to_value(platform.parse::<Platform>().unwrap()).unwrap();
        }
        entry
    };
    let manifests: Vec<_> = entries.iter().map(entry).collect();
    Blob::new(media_type::OCI_INDEX, json!({"schemaVersion": 2, "manifests": manifests}).to_string())
}

pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// Options under which a test ends soon: short waits, plain HTTP, and no credentials but those in `docker_config`.
pub(crate) fn options(docker_config: &str) -> (ClientOptions, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, docker_config).unwrap();
    let quick = Duration::from_millis(300);
    let options = ClientOptions {
        plain_http: PlainHttp::Hosts(vec!["127.0.0.1".to_owned()]),
        docker_config: Some(path),
        timeouts: Timeouts { answer: quick, stall: quick, ..Timeouts::default() },
        retry: RetryPolicy {
            attempts: 3,
            base: Duration::from_millis(5),
            longest: Duration::from_millis(20),
            longest_asked: Duration::from_secs(5),
        },
        ..ClientOptions::default()
    };
    (options, dir)
}

pub(crate) fn client(docker_config: &str) -> Client {
    let (options, _dir) = options(docker_config);
    Client::new(options).unwrap()
}

/// The whole message, as a person sees it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
