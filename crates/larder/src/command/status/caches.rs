//! `larder status`: ask the API server, and print what it says; once, or at every change.

use std::ops::ControlFlow;

use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;

use crate::cli::{Form, StatusArgs};
use crate::cluster::Cluster;
use crate::command::UsageError;
use crate::command::caches::{CacheView, Scope, Show, follow, list, text};
use crate::command::disk::print;
use crate::deploy::Label;
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;

pub(super) fn run(args: StatusArgs) -> anyhow::Result<Exit> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(or_interrupted(show(args)))
}

async fn show(args: StatusArgs) -> anyhow::Result<Exit> {
    let StatusArgs { name, all_namespaces, watch, output, connect, namespace, node: _, place: _ } = args;
    let namespace = namespace.map(|name| name.parse::<Label>()).transpose();
    let namespace = namespace.map_err(|error| UsageError(format!("--namespace: {error}")))?;
    let cluster = Cluster::connect(&connect, namespace.as_ref()).await?;
    let scope = match name {
        Some(name) => Scope::One(name.to_string()),
        None if all_namespaces => Scope::All,
        None => Scope::Namespace,
    };
    if watch {
        return Err(forever(&cluster, &scope, output).await);
    }
    let views = list(&cluster, &scope).await?.views();
    if let (Scope::One(name), []) = (&scope, views.as_slice()) {
        bail!("image cache {}/{name} does not exist", cluster.namespace);
    }
    if views.is_empty() {
        printer::talk("there are no image caches");
    }
    print(output, &views, || if views.is_empty() { String::new() } else { text(&views) })?;
    Ok(if views.iter().all(|view| view.ready) { Exit::Done } else { Exit::Failed })
}

/// Tables are for a terminal: there, bars are better; elsewhere, a line for each change.
async fn forever(cluster: &Cluster, scope: &Scope, output: Form) -> anyhow::Error {
    let (bars, mut last) = (Show::new(), None);
    let watched = follow(cluster, scope, |seen| {
        let views = seen.views();
        if last.as_ref() == Some(&views) {
            return ControlFlow::Continue(());
        }
        let shown = match output {
            Form::Table => {
                bars.show(&views);
                Ok(())
            }
            Form::Json | Form::Yaml => document(output, &views),
        };
        last = Some(views);
        shown.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    });
    watched.await.unwrap_or_else(Into::into)
}

/// Documents that follow each other: JSON values do by themselves.
fn document(output: Form, views: &[CacheView]) -> anyhow::Result<()> {
    if output == Form::Yaml {
        printer::data("---");
    }
    print(output, &views, String::new)
}
