//! Agents as processes, and the sets of their nodes on a real API server.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use larder_api::{
    ImageSeen, ImageWanted, NodeImageSet, NodeImageSetSpec, NodeImageSetStatus, custom_resource_definitions,
    without_validation_rules,
};
use larder_tests::containerd::Containerd;
use larder_tests::kubernetes::ApiServer;
use larder_tests::larder::command;
use larder_tests::process::{Daemon, until};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

/// What a small image may take on a busy machine, from the set to its status.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// An API server that knows the kinds.
pub(crate) fn start_server() -> ApiServer {
    let server = ApiServer::start().unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(server.client().unwrap());
    for definition in custom_resource_definitions().map(without_validation_rules) {
        server.wait(definitions.create(&PostParams::default(), &definition)).unwrap();
    }
    let sets: Api<NodeImageSet> = Api::all(server.client().unwrap());
    until("the kinds are served", SOON, || Ok(server.wait(sets.list(&ListParams::default()))?)).unwrap();
    server
}

/// Shared by the tests of this process that do not disturb it; nodes are each test's own.
pub(crate) fn shared() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    SERVER.get_or_init(start_server)
}

pub(crate) fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

pub(crate) fn wanted(image: &impl ToString) -> ImageWanted {
    ImageWanted { image: image.to_string(), ..ImageWanted::default() }
}

/// The set of a node of its own.
pub(crate) struct Set<'a> {
    server: &'a ApiServer,
    api: Api<NodeImageSet>,
    pub(crate) node: String,
}

impl<'a> Set<'a> {
    pub(crate) fn create(server: &'a ApiServer, images: Vec<ImageWanted>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let node = format!("node-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let api: Api<NodeImageSet> = Api::all(server.client().unwrap());
        let set = NodeImageSet::new(&node, NodeImageSetSpec { images, refresh_seconds: None });
        server.wait(api.create(&PostParams::default(), &set)).unwrap();
        Self { server, api, node }
    }

    /// Puts other images into it.
    pub(crate) fn want(&self, images: Vec<ImageWanted>, refresh_seconds: Option<i64>) {
        let spec = NodeImageSetSpec { images, refresh_seconds };
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        self.server.wait(self.api.patch(&self.node, &PatchParams::default(), &patch)).unwrap();
    }

    pub(crate) fn get(&self) -> Result<NodeImageSet> {
        Ok(self.server.wait(self.api.get(&self.node))?)
    }

    /// What it says of an image.
    pub(crate) fn seen(&self, image: &impl ToString) -> Result<ImageSeen> {
        let status = self.get()?.status.context("no status yet")?;
        let image = image.to_string();
        status
            .images
            .into_iter()
            .find(|seen| seen.image == image)
            .with_context(|| format!("nothing of {image}"))
    }

    /// The status, once it answers the present spec and every wanted image is warm.
    pub(crate) fn ready(&self) -> Result<NodeImageSetStatus> {
        until("the set is ready", SOON, || {
            let set = self.get()?;
            let status = set.status.context("no status yet")?;
            let ready = status.conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
            let is_answer = status.observed_generation == set.metadata.generation;
            ensure!(ready && is_answer, "{status:?}");
            Ok(status)
        })
    }

    /// Counts changes of it from now on.
    pub(crate) fn count_writes(&self, server: &'static ApiServer) -> Writes {
        let count = Arc::new(AtomicUsize::new(0));
        let (begun, has_begun) = mpsc::channel();
        let (api, counted) = (self.api.clone(), Arc::clone(&count));
        let parameters = WatchParams::default().fields(&format!("metadata.name={}", self.node));
        let version = self.get().unwrap().metadata.resource_version.unwrap();
        std::thread::spawn(move || {
            server.wait(async move {
                let mut events = api.watch(&parameters, &version).await.unwrap().boxed();
                begun.send(()).unwrap();
                while let Ok(Some(event)) = events.try_next().await {
                    if let WatchEvent::Modified(_) = event {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        });
        has_begun.recv().unwrap();
        Writes(count)
    }
}

/// Changes of a set.
pub(crate) struct Writes(Arc<AtomicUsize>);

impl Writes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A running agent; it is killed on drop.
pub(crate) struct Agent {
    daemon: Option<Daemon>,
    dir: TempDir,
    socket: PathBuf,
    node: String,
    kubeconfig: PathBuf,
    arguments: Vec<String>,
}

impl Agent {
    pub(crate) fn start(set: &Set<'_>, containerd: &Containerd) -> Self {
        Self::start_at(set, &containerd.socket(), set.server.kubeconfig(), &[])
    }

    pub(crate) fn start_at(set: &Set<'_>, socket: &Path, kubeconfig: &Path, arguments: &[&str]) -> Self {
        let mut agent = Self {
            daemon: None,
            dir: TempDir::new().unwrap(),
            socket: socket.to_owned(),
            node: set.node.clone(),
            kubeconfig: kubeconfig.to_owned(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        agent.launch();
        agent
    }

    /// Starts it again, as a new process.
    pub(crate) fn launch(&mut self) {
        let mut agent = command().unwrap();
        agent.arg("agent").arg("--node-name").arg(&self.node).arg("--cri-socket").arg(&self.socket);
        agent
            .args(["--min-free=0", "--low-threshold=100", "--metrics-address=127.0.0.1:0"])
            .args(&self.arguments);
        agent.env("KUBECONFIG", &self.kubeconfig).env_remove("KUBERNETES_SERVICE_HOST");
        self.daemon = Some(Daemon::spawn(&agent, &self.dir.path().join("log")).unwrap());
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.daemon.take();
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.daemon.take().context("it does not run")?.stop()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// A kubeconfig for somebody who may do what roles allow, and no more.
pub(crate) fn kubeconfig_as(server: &ApiServer, user: &str) -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"]["as"] = user.into();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.to_string()).unwrap();
    file
}
