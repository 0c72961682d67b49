//! A reverse proxy before a real registry that fails as it is told: it plays the broken network, the busy registry, the
//! storage that blobs are redirected to, the token server, and Google's metadata server. HTTP/1.1 on loopback.

mod answer;
mod http;
mod tokens;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use larder_core::{Digest, ImageRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub use answer::{Answer, Fault};

use crate::blocking::wait;
use crate::registry::Registry;
use http::Request;
use tokens::Tokens;

/// Google's metadata server has its tokens here.
const METADATA_TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// Another host than the proxy's own.
const STORAGE: &str = "127.0.0.2:0";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A token.
    Token,
    /// An index or a manifest.
    Manifest,
    /// An image's configuration.
    Config,
    /// A layer.
    Layer,
    /// Google's token.
    Metadata,
}

/// A request that the proxy, or the storage, has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For what.
    pub kind: Kind,
    /// Path and query.
    pub path: String,
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// Whether the storage was asked.
    pub storage: bool,
}

/// A proxy that is not running yet.
#[derive(Debug, Default)]
pub struct ProxyBuilder {
    config: Option<Digest>,
    token_uses: Option<usize>,
    faults: Vec<(Kind, Fault, usize)>,
}

/// A running proxy; it ends on drop.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    running: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    storage: String,
    config: Option<Digest>,
    http: reqwest::Client,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: Option<Tokens>,
    faults: Vec<(Kind, Fault, usize)>,
    asked: Vec<Asked>,
}

impl ProxyBuilder {
    /// The digest by which requests for the configuration are told from those for layers.
    pub fn config(self, config: Digest) -> Self {
        Self { config: Some(config), ..self }
    }

    /// Asks for tokens, each good for `uses` requests.
    pub fn tokens(self, uses: usize) -> Self {
        Self { token_uses: Some(uses), ..self }
    }

    /// Answers the next `times` requests of `kind`, which are otherwise in order, with a fault.
    pub fn fault(mut self, kind: Kind, fault: Fault, times: usize) -> Self {
        self.faults.push((kind, fault, times));
        self
    }

    /// Starts it before `registry`.
    pub fn start(self, registry: &Registry) -> Result<Proxy> {
        let Self { config, token_uses, faults } = self;
        let state = State { tokens: token_uses.map(Tokens::new), faults, asked: Vec::new() };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let upstream = registry.address().to_owned();
        wait(async move {
            let front = TcpListener::bind("127.0.0.1:0").await?;
            let storage = TcpListener::bind(STORAGE).await.context("bind a second loopback address")?;
            let address = front.local_addr()?.to_string();
            let shared = Shared {
                upstream,
                storage: storage.local_addr()?.to_string(),
                config,
                http,
                state: Mutex::new(state),
            };
            let shared = Arc::new(shared);
            let running = [(front, false), (storage, true)]
                .map(|(listener, is_storage)| accept(listener, Arc::clone(&shared), is_storage));
            Ok(Proxy { address, shared, running: running.into() })
        })
    }
}

impl Proxy {
    /// Where it listens: `127.0.0.1:40123`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `reference`, which is one of the registry's, by way of the proxy.
    pub fn reference(&self, reference: &ImageRef) -> Result<ImageRef> {
        let tag = reference.tag().context("a reference without a tag")?;
        Ok(format!("{}/{}:{tag}", self.address, reference.repository()).parse()?)
    }

    /// What it has seen so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// How many requests of `kind` it has seen that had what it takes to be let in.
    pub fn count(&self, kind: Kind) -> usize {
        self.asked().iter().filter(|asked| asked.kind == kind && !asked.storage).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.iter().for_each(AbortHandle::abort);
    }
}

fn accept(listener: TcpListener, shared: Arc<Shared>, storage: bool) -> AbortHandle {
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            // A client that goes away ends its connection, and nothing else.
            tokio::spawn(async move { shared.serve(stream, storage).await });
        }
    });
    task.abort_handle()
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream, storage: bool) -> Result<()> {
        let mut connection = http::Connection::new(stream);
        while let Some(request) = connection.read().await? {
            let answer = self.answer(&request, storage).await?;
            if !connection.write(answer, request.is_head).await? {
                break;
            }
        }
        Ok(())
    }

    async fn answer(&self, request: &Request, storage: bool) -> Result<Answer> {
        let kind = self.kind(&request.path);
        if let Some(challenge) = self.admit(request, kind, storage) {
            return Ok(challenge);
        }
        let answer = match kind {
            Kind::Token => self.state().token(),
            Kind::Metadata => answer::metadata(),
            Kind::Manifest | Kind::Config | Kind::Layer => self.forward(request).await?,
        };
        let fault = if storage { None } else { self.state().next_fault(kind) };
        Ok(match fault {
            Some(Fault::Redirected) => Answer::redirect(&self.storage, &request.path),
            Some(Fault::Status(401)) if kind != Kind::Token => tokens::challenge(request),
            Some(fault) => answer.with(fault),
            None => answer,
        })
    }

    /// Notes the request; the answer to one without a good token is a challenge.
    fn admit(&self, request: &Request, kind: Kind, storage: bool) -> Option<Answer> {
        let mut state = self.state();
        let authorization = request.header("authorization").map(str::to_owned);
        let guarded = !storage && !matches!(kind, Kind::Token | Kind::Metadata);
        if guarded && state.tokens.as_mut().is_some_and(|tokens| !tokens.admit(authorization.as_deref())) {
            return Some(state.challenge(request));
        }
        state.asked.push(Asked { kind, path: request.path.clone(), authorization, storage });
        None
    }

    fn kind(&self, path: &str) -> Kind {
        let config = self.config.map(|digest| digest.to_string()).unwrap_or_default();
        match path {
            METADATA_TOKEN => Kind::Metadata,
            path if path.starts_with("/token") => Kind::Token,
            path if path.contains("/manifests/") => Kind::Manifest,
            path if !config.is_empty() && path.contains(&config) => Kind::Config,
            _ => Kind::Layer,
        }
    }

    async fn forward(&self, request: &Request) -> Result<Answer> {
        let mut get = self.http.get(format!("http://{}{}", self.upstream, request.path));
        for name in ["accept", "range"] {
            if let Some(value) = request.header(name) {
                get = get.header(name, value);
            }
        }
        let response = get.send().await?;
        let passed = ["content-type", "docker-content-digest", "content-range"];
        let header = |name: &&str| {
            Some(((*name).to_owned(), response.headers().get(*name)?.to_str().ok()?.to_owned()))
        };
        let headers = passed.iter().filter_map(header).collect();
        let status = response.status().as_u16();
        Ok(Answer::new(status, headers, response.bytes().await?.to_vec()))
    }
}

impl State {
    fn next_fault(&mut self, kind: Kind) -> Option<Fault> {
        let (_, fault, times) =
            self.faults.iter_mut().find(|(known, _, times)| *known == kind && *times > 0)?;
        *times -= 1;
        Some(fault.clone())
    }

    fn token(&mut self) -> Answer {
        let token = self.tokens.get_or_insert_with(|| Tokens::new(usize::MAX)).issue();
        Answer::json(format!(r#"{{"token":"{token}","expires_in":300}}"#))
    }

    /// The only fault of a token server that shows before it is asked: nobody listens there.
    fn challenge(&self, request: &Request) -> Answer {
        let away = |(kind, fault, _): &(Kind, Fault, usize)| (*kind, fault) == (Kind::Token, &Fault::Refused);
        if self.faults.iter().any(away) {
            tokens::challenge_of(answer::NOBODY)
        } else {
            tokens::challenge(request)
        }
    }
}
