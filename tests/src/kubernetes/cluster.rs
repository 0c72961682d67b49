//! An API server with Larder's kinds, nodes that nobody runs, the controller as a process, and agents that play their part: they
//! answer each set at once, and pull nothing.

mod agents;
mod controller;

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use larder_api::{
    ImageCache, ImageCacheStatus, NodeImageSet, custom_resource_definitions, without_validation_rules,
};
use serde_json::{Value, json};

pub use agents::Agents;
pub use controller::Controller;

use super::ApiServer;
use crate::process::until;

/// Servers before this minor version refuse validation rules in definitions.
const WITH_RULES: u32 = 25;
/// For the server to serve a kind after it was defined.
const SERVED: Duration = Duration::from_secs(30);
/// The namespace of the tests' caches.
const NAMESPACE: &str = "default";

/// A cluster without kubelets.
#[derive(Debug)]
pub struct Cluster {
    /// Its API server.
    pub server: ApiServer,
}

impl Cluster {
    /// An API server that serves caches and sets. An old one gets the definitions without their rules, and that is said.
    pub fn start() -> Result<Self> {
        let cluster = Self { server: ApiServer::start()? };
        let version = cluster.server.wait(cluster.client()?.apiserver_version())?;
        let minor: u32 = version.minor.trim_end_matches('+').parse().context("the server's minor version")?;
        let has_rules = minor >= WITH_RULES;
        if !has_rules {
            let version = version.git_version;
            std::io::Write::write_all(
                &mut std::io::stderr(),
                format!(
                    "API server {version} has no validation rules: they are left out of the definitions\n"
                )
                .as_bytes(),
            )?;
        }
        for definition in custom_resource_definitions() {
            let fitting = if has_rules { definition } else { without_validation_rules(definition) };
            cluster.define(&fitting)?;
        }
        until("the kinds are served", SERVED, || {
            cluster.server.wait(cluster.caches()?.list(&ListParams::default()))?;
            cluster.server.wait(cluster.sets()?.list(&ListParams::default()))?;
            Ok(())
        })?;
        Ok(cluster)
    }

    fn define(&self, definition: &CustomResourceDefinition) -> Result<()> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client()?);
        self.server.wait(definitions.create(&PostParams::default(), definition))?;
        Ok(())
    }

    /// The administrator's client.
    pub fn client(&self) -> Result<Client> {
        self.server.client()
    }

    /// Caches of the tests' namespace.
    pub fn caches(&self) -> Result<Api<ImageCache>> {
        Ok(Api::namespaced(self.client()?, NAMESPACE))
    }

    /// All sets.
    pub fn sets(&self) -> Result<Api<NodeImageSet>> {
        Ok(Api::all(self.client()?))
    }

    /// Makes a Ready node in zone `zone`.
    pub fn add_node(&self, name: &str, zone: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client()?);
        let node = json!({ "metadata": { "name": name, "labels": { "zone": zone } } });
        self.server.wait(nodes.create(&PostParams::default(), &serde_json::from_value(node)?))?;
        self.set_ready(name, true)
    }

    /// Lets a node's kubelet say whether it is Ready.
    pub fn set_ready(&self, name: &str, ready: bool) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client()?);
        let condition = json!({ "type": "Ready", "status": if ready { "True" } else { "Unknown" } });
        let status = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
        self.server.wait(nodes.patch_status(name, &PatchParams::default(), &status))?;
        Ok(())
    }

    /// A node as it is.
    pub fn node(&self, name: &str) -> Result<Node> {
        let nodes: Api<Node> = Api::all(self.client()?);
        Ok(self.server.wait(nodes.get(name))?)
    }

    /// Removes a node.
    pub fn remove_node(&self, name: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client()?);
        self.server.wait(nodes.delete(name, &DeleteParams::default()))?;
        Ok(())
    }

    /// Makes or edits a cache, as `kubectl apply --server-side` does.
    pub fn apply(&self, name: &str, spec: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": "kubefledged.io/v1alpha2", "kind": "ImageCache",
            "metadata": { "name": name }, "spec": spec,
        });
        let params = PatchParams::apply("a-user").force();
        self.server.wait(self.caches()?.patch(name, &params, &Patch::Apply(object)))?;
        Ok(())
    }

    /// Sets an annotation of a cache, as `kubectl annotate` does.
    pub fn annotate(&self, name: &str, annotation: &str, value: &str) -> Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { (annotation): value } } }));
        self.server.wait(self.caches()?.patch(name, &PatchParams::default(), &patch))?;
        Ok(())
    }

    /// Deletes a cache, and does not wait for its end.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.server.wait(self.caches()?.delete(name, &DeleteParams::default()))?;
        Ok(())
    }

    /// A cache, if there is one.
    pub fn cache(&self, name: &str) -> Result<Option<ImageCache>> {
        Ok(self.server.wait(self.caches()?.get_opt(name))?)
    }

    /// A cache's status; an empty one before the first.
    pub fn status(&self, name: &str) -> Result<ImageCacheStatus> {
        Ok(self.cache(name)?.and_then(|cache| cache.status).unwrap_or_default())
    }

    /// What a node is to hold, with a `-` before what is to go.
    pub fn held(&self, node: &str) -> Result<Vec<String>> {
        let set = self.server.wait(self.sets()?.get_opt(node))?;
        let entries = set.into_iter().flat_map(|set| set.spec.images);
        let mark = |purge: Option<String>| if purge.is_some() { "-" } else { "" };
        Ok(entries.map(|entry| format!("{}{}", mark(entry.purge), entry.image)).collect())
    }
}
