//! `larder release-caches`: the controller's finalizer off every ImageCache.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use larder_api::{ImageCache, names};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};

use crate::cli::ReleaseCachesArgs;
use crate::cluster::{Cluster, ClusterError, call, optional};
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;

/// A controller that was told to end does so within 10 s; until then it puts back what was taken off.
const QUIET: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_secs(1);

pub(in crate::command) fn run(args: ReleaseCachesArgs) -> anyhow::Result<Exit> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let ReleaseCachesArgs { controller, timeout: limit, cluster } = args;
    runtime.block_on(or_interrupted(async {
        let cluster = Cluster::of(&cluster).await?;
        let quiet = match controller {
            Some(name) => {
                stop(&cluster, &name.to_string()).await?;
                QUIET
            }
            None => Duration::ZERO,
        };
        match timeout(limit, release(&cluster, quiet)).await {
            Ok(released) => released.map(|()| Exit::Done),
            Err(_) => bail!(
                "not done after {} s: image caches have the finalizer {}, or may get it back",
                limit.as_secs(),
                names::FINALIZER
            ),
        }
    }))
}

async fn stop(cluster: &Cluster, name: &str) -> Result<(), ClusterError> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let (params, none) = (PatchParams::default(), Patch::Merge(json!({ "spec": { "replicas": 0 } })));
    let stopped = deployments.patch_scale(name, &params, &none);
    optional(call(&format!("stop deployment {}/{name}", cluster.namespace), stopped).await)?;
    Ok(())
}

/// Until no cache has had the finalizer for `quiet`.
async fn release(cluster: &Cluster, quiet: Duration) -> anyhow::Result<()> {
    let mut since = Instant::now();
    loop {
        let caches = call("list image caches", cluster.all_caches().list(&ListParams::default())).await;
        let caches = match caches {
            Err(ClusterError::NoDefinition) => return Ok(()),
            caches => caches?,
        };
        for cache in caches {
            if let Some(patch) = without_finalizer(&cache) {
                release_one(cluster, &cache, patch).await?;
                since = Instant::now();
            }
        }
        if since.elapsed() >= quiet {
            return Ok(());
        }
        sleep(BETWEEN).await;
    }
}

/// Somebody else's edit in between is seen by the next round.
async fn release_one(cluster: &Cluster, cache: &ImageCache, patch: Value) -> Result<(), ClusterError> {
    let (namespace, name) = (cache.namespace().unwrap_or_default(), cache.name_any());
    let api: Api<ImageCache> = Api::namespaced(cluster.client.clone(), &namespace);
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let released = api.patch(&name, &params, &patch);
    match optional(call(&format!("release image cache {namespace}/{name}"), released).await) {
        Ok(_) => printer::data(format_args!("image cache {namespace}/{name}: released")),
        Err(ClusterError::Refused { code: 409, .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// None where there is none. The version keeps another's finalizer that came meanwhile.
fn without_finalizer(cache: &ImageCache) -> Option<Value> {
    let rest: Vec<_> = cache.finalizers().iter().filter(|name| *name != names::FINALIZER).collect();
    let metadata = json!({ "finalizers": rest, "resourceVersion": cache.resource_version() });
    (rest.len() < cache.finalizers().len()).then(|| json!({ "metadata": metadata }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_finalizer_is_taken_off() {
        let cache = |finalizers: &[&str]| {
            let spec = serde_json::from_value(json!({ "cacheSpec": [{ "images": ["a:1"] }] })).unwrap();
            let mut cache = ImageCache::new("web", spec);
            cache.metadata.finalizers = Some(finalizers.iter().map(|name| (*name).to_owned()).collect());
            cache.metadata.resource_version = Some("7".to_owned());
            cache
        };
        let patch = json!({ "metadata": { "finalizers": ["other"], "resourceVersion": "7" } });
        assert_eq!(without_finalizer(&cache(&["other", names::FINALIZER])), Some(patch));
        assert_eq!(without_finalizer(&cache(&["other"])), None);
        assert_eq!(without_finalizer(&cache(&[])), None);
    }
}
