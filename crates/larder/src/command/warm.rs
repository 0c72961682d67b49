//! `larder warm`: makes or extends an ImageCache, drops it, and waits for the nodes.

mod judge;
mod plan;
mod release;

use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use larder_api::{ImageCache, PullBy, names};
use serde_json::json;
use tokio::runtime::Runtime;

use super::UsageError;
use super::caches::{Scope, Show, follow};
use crate::cli::{Puller, WarmArgs};
use crate::cluster::{Cluster, ClusterError, call, optional};
use crate::deploy::selector;
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;
use judge::{Verdict, judge};
use plan::{Change, Wish, plan};

pub(super) use release::run as release_caches;

/// Others edit the same cache meanwhile; more often than that is no accident.
const CONFLICTS: u32 = 10;

pub(super) fn run(args: WarmArgs) -> anyhow::Result<Exit> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(or_interrupted(warm(args)))
}

async fn warm(args: WarmArgs) -> anyhow::Result<Exit> {
    let WarmArgs { images, node_selector, name, pull_secret, pull_by, max_parallel_nodes, .. } = args;
    let wish = Wish {
        images,
        nodes: selector(node_selector.into_iter().flatten().collect())
            .map_err(|error| UsageError(error.to_string()))?,
        pull_secrets: pull_secret.iter().map(ToString::to_string).collect(),
        pull_by: pull_by.map(|puller| match puller {
            Puller::Agent => PullBy::Agent,
            Puller::Job => PullBy::Job,
        }),
        max_parallel_nodes: max_parallel_nodes.map(|share| share.0),
    };
    let cluster = Cluster::of(&args.cluster).await?;
    let cache = Named { api: cluster.caches(), name: name.to_string(), namespace: cluster.namespace.clone() };
    if args.rm {
        cache.drop().await?;
        return if args.wait {
            within(args.timeout, &cache, cache.gone(&cluster)).await
        } else {
            Ok(Exit::Done)
        };
    }
    let written = cache.extend(&wish).await?;
    if !args.wait {
        return Ok(Exit::Done);
    }
    within(args.timeout, &cache, cache.warm(&cluster, &written)).await
}

/// One ImageCache.
struct Named {
    api: Api<ImageCache>,
    name: String,
    namespace: String,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "image cache {}/{}", self.namespace, self.name)
    }
}

impl Named {
    /// Writes what is missing; somebody else's edit in between is looked at, and not lost.
    async fn extend(&self, wish: &Wish) -> anyhow::Result<ImageCache> {
        for _ in 0..CONFLICTS {
            let seen = optional(call(&format!("read {self}"), self.api.get_opt(&self.name)).await)?.flatten();
            let change = plan(seen.as_ref(), wish).with_context(|| self.to_string())?;
            let done = change.done();
            match self.write(seen, change).await {
                Ok(written) => {
                    printer::data(format_args!("{self}: {done}"));
                    return Ok(written);
                }
                Err(ClusterError::Refused { code: 409, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("{self} is edited by somebody else all the time")
    }

    async fn write(&self, seen: Option<ImageCache>, change: Change) -> Result<ImageCache, ClusterError> {
        let version = seen.as_ref().and_then(ImageCache::resource_version);
        let patch = match change {
            Change::Create(spec) => {
                let cache = ImageCache::new(&self.name, *spec);
                return call(&format!("create {self}"), self.api.create(&PostParams::default(), &cache))
                    .await;
            }
            Change::Extend(spec) => json!({ "metadata": { "resourceVersion": version }, "spec": spec }),
            Change::Wake(value) => {
                json!({ "metadata": { "resourceVersion": version, "annotations": { names::REFRESH: value } } })
            }
            Change::Nothing(cache) => return Ok(*cache),
        };
        let patch = Patch::Merge(patch);
        call(&format!("edit {self}"), self.api.patch(&self.name, &PatchParams::default(), &patch)).await
    }

    async fn drop(&self) -> anyhow::Result<()> {
        let deleted =
            call(&format!("delete {self}"), self.api.delete(&self.name, &DeleteParams::default())).await;
        optional(deleted)?.with_context(|| format!("{self} does not exist"))?;
        printer::data(format_args!("{self}: dropped"));
        Ok(())
    }

    /// Shows the nodes until all are warm, or the controller says that it failed.
    async fn warm(&self, cluster: &Cluster, written: &ImageCache) -> anyhow::Result<Exit> {
        let show = Show::new();
        let scope = Scope::One(self.name.clone());
        let ended = follow(cluster, &scope, |seen| {
            show.show(&seen.views());
            match judge(seen.cache(), written) {
                Verdict::Waiting => ControlFlow::Continue(()),
                verdict => ControlFlow::Break(verdict),
            }
        })
        .await;
        show.clear();
        match ended? {
            Verdict::Warm(message) => {
                printer::data(format_args!("{self}: {message}"));
                Ok(Exit::Done)
            }
            Verdict::Failed(message) => Err(anyhow!("{self}: {message}")),
            Verdict::Waiting => bail!("{self}: nobody waits any more"),
        }
    }

    async fn gone(&self, cluster: &Cluster) -> anyhow::Result<Exit> {
        let scope = Scope::One(self.name.clone());
        follow(cluster, &scope, |seen| match seen.cache() {
            Some(_) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        })
        .await?;
        Ok(Exit::Done)
    }
}

/// What is not done by then has failed; no time at all means: as long as it takes.
async fn within(
    limit: Duration,
    cache: &Named,
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    if limit.is_zero() {
        return work.await;
    }
    if let Ok(done) = tokio::time::timeout(limit, work).await {
        return done;
    }
    let why = match call(&format!("read {cache}"), cache.api.get_opt(&cache.name)).await {
        Ok(Some(cache)) => judge::waiting_for(&cache),
        Ok(None) => "it is gone".to_owned(),
        Err(error) => error.to_string(),
    };
    bail!("{cache}: not done after {} s: {why}", limit.as_secs())
}
