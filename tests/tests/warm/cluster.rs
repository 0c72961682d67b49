//! A namespace of a real API server, for one test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use larder_api::{ImageCache, NodeImageSet, custom_resource_definitions, without_validation_rules};
use larder_tests::kubernetes::ApiServer;
use larder_tests::larder::{self, Ran, finished};
use larder_tests::process::until;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// Shared by the tests of this process that do not disturb it.
fn shared() -> Arc<ApiServer> {
    static SERVER: OnceLock<Arc<ApiServer>> = OnceLock::new();
    SERVER.get_or_init(start).clone()
}

fn start() -> Arc<ApiServer> {
    let server = ApiServer::start().unwrap();
    define(&server);
    Arc::new(server)
}

/// Servers before 1.25 do not know the definitions' rules: the program itself checks by the same.
fn define(server: &ApiServer) {
    let definitions = Api::all(server.client().unwrap());
    for definition in custom_resource_definitions() {
        let definition = without_validation_rules(definition);
        server.wait(definitions.create(&PostParams::default(), &definition)).unwrap();
    }
    let (caches, sets) = (
        Api::<ImageCache>::all(server.client().unwrap()),
        Api::<NodeImageSet>::all(server.client().unwrap()),
    );
    until("the definitions are served", LIMIT, || {
        server.wait(async {
            Ok((caches.list(&ListParams::default()).await?, sets.list(&ListParams::default()).await?))
        })
    })
    .unwrap();
}

pub(crate) fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

/// A test's own namespace.
pub(crate) struct Space {
    pub(crate) server: Arc<ApiServer>,
    pub(crate) name: &'static str,
}

impl Space {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::at(shared(), name)
    }

    /// On a server without other tests.
    pub(crate) fn alone(name: &'static str) -> Self {
        Self::at(start(), name)
    }

    fn at(server: Arc<ApiServer>, name: &'static str) -> Self {
        let namespaces: Api<Namespace> = Api::all(server.client().unwrap());
        let namespace = object(json!({ "metadata": { "name": name } }));
        server.wait(namespaces.create(&PostParams::default(), &namespace)).unwrap();
        Self { server, name }
    }

    /// `larder` with what follows, in this namespace.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = command_at(self.server.kubeconfig(), line);
        command.args(["--namespace", self.name]);
        command
    }

    pub(crate) fn larder(&self, line: &str) -> Ran {
        finished(&mut self.command(line)).unwrap()
    }

    /// The same, while the test goes on.
    pub(crate) fn begin(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn caches(&self) -> Api<ImageCache> {
        Api::namespaced(self.server.client().unwrap(), self.name)
    }

    pub(crate) fn cache(&self, name: &str) -> ImageCache {
        self.server.wait(self.caches().get(name)).unwrap()
    }

    pub(crate) fn lists(&self, name: &str) -> Value {
        serde_json::to_value(self.cache(name).spec.cache_spec).unwrap()
    }

    pub(crate) fn make(&self, name: &str, metadata: &Value) -> ImageCache {
        let mut cache: ImageCache =
            object(json!({ "apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
            "metadata": metadata, "spec": { "cacheSpec": [{ "images": ["redis:7"] }] } }));
        cache.metadata.name = Some(name.to_owned());
        self.server.wait(self.caches().create(&PostParams::default(), &cache)).unwrap()
    }

    /// What the controller would say of a generation; pairs of condition and status.
    pub(crate) fn judge(&self, name: &str, generation: Option<i64>, conditions: &[(&str, &str)]) {
        let condition = |(kind, status): &(&str, &str)| {
            json!({ "type": kind, "status": status, "observedGeneration": generation, "reason": "Told",
                "message": "told by the test", "lastTransitionTime": "2026-01-02T03:04:05Z" })
        };
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        let counts = json!({ "wanted": 2, "ready": 2, "waiting": 0, "failed": 0, "unknown": 0 });
        let status = json!({ "status": { "conditions": conditions, "nodesReady": "2/2", "nodes": counts,
            "reason": "ImageCacheCreate", "observedGeneration": generation } });
        let patch = Patch::Merge(status);
        self.server.wait(self.caches().patch_status(name, &PatchParams::default(), &patch)).unwrap();
    }

    /// What an agent would say; image, phase and percentage each.
    pub(crate) fn report(&self, node: &str, cache: &str, images: &[(&str, &str, Option<i32>)]) {
        let caches = [format!("{}/{cache}", self.name)];
        let wanted = |(image, ..): &(&str, &str, Option<i32>)| json!({ "image": image, "caches": caches });
        let seen = |(image, phase, percent): &(&str, &str, Option<i32>)| json!({ "image": image, "phase": phase, "percent": percent });
        let (wanted, seen): (Vec<_>, Vec<_>) =
            (images.iter().map(wanted).collect(), images.iter().map(seen).collect());
        let sets: Api<NodeImageSet> = Api::all(self.server.client().unwrap());
        let set = json!({ "apiVersion": "kubefledged.io/v1alpha2", "kind": "NodeImageSet", "metadata": { "name": node }, "spec": { "images": wanted } });
        let params = PatchParams::apply("test").force();
        self.server.wait(sets.patch(node, &params, &Patch::Apply(set))).unwrap();
        let status = Patch::Merge(json!({ "status": { "images": seen } }));
        self.server.wait(sets.patch_status(node, &PatchParams::default(), &status)).unwrap();
    }
}

pub(crate) fn command_at(kubeconfig: &Path, line: &str) -> Command {
    let mut command = larder::command().unwrap();
    command.env_remove("KUBECONFIG").env("HOME", "/nonexistent").env_remove("KUBERNETES_SERVICE_HOST");
    command.args(line.split_whitespace()).arg("--kubeconfig").arg(kubeconfig);
    command
}

/// What a command that was begun did.
pub(crate) fn end(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[track_caller]
pub(crate) fn assert_ended(ran: &Ran, status: i32, said: &str) {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(ran.status == Some(status) && all.contains(said), "expected {status} and {said:?}: {ran:?}");
}
