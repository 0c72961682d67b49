//! What others are told about a fetch: its results to the aggregator, its outcome to the node's label. Each has a deadline of its
//! own, so that they are told also when the time for pulling is over.

use std::path::Path;
use std::time::Duration;

use larder_node::metrics::{MetricsEndpoint, submit};
use larder_node::{Attempt, NodeLabeller, Prefetch};

use crate::printer;

/// For the results: below the hour that a pod's end may be put off, and enough for an aggregator that is being replaced.
const RESULTS: Duration = Duration::from_mins(2);
/// For the label, at the beginning and at the end.
const LABEL: Duration = Duration::from_secs(30);
/// Names the prefetch among several on the same node; without it no label is set, as image-prefetcher does.
const INSTANCE: &str = "INSTANCE_NAME";

/// Who is told.
pub(super) struct Delivery {
    node: String,
    endpoint: Option<MetricsEndpoint>,
    label: Option<(NodeLabeller, String)>,
}

impl Delivery {
    /// To the aggregator at `target`, where one is given.
    pub(super) fn new(
        node: &str,
        target: Option<&str>,
        authority: Option<&Path>,
        token_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let endpoint =
            target.map(|target| MetricsEndpoint::new(target, authority, token_file)).transpose()?;
        Ok(Self { node: node.to_owned(), endpoint, label: None })
    }

    pub(super) fn wants_results(&self) -> bool {
        self.endpoint.is_some()
    }

    /// Finds the API server, in a cluster and where this prefetch has a name. Images are pulled without it, too.
    pub(super) async fn find_label(&mut self) {
        let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // The host's own name need not be the node's.
        let (Some(instance), Some(_)) = (named(INSTANCE), named("NODE_NAME")) else { return };
        match NodeLabeller::from_environment().await {
            Ok(labeller) => self.label = labeller.map(|labeller| (labeller, instance)),
            Err(error) => printer::failure("node label", &error),
        }
    }

    /// Takes away what an earlier run has said.
    pub(super) async fn begun(&self) {
        self.set_label(Prefetch::Running).await;
    }

    /// Tells how it ended.
    pub(super) async fn ended(&self, attempts: &[Attempt], succeeded: bool) {
        let outcome = if succeeded { Prefetch::Succeeded } else { Prefetch::Failed };
        tokio::join!(self.set_label(outcome), self.submit(attempts));
    }

    async fn set_label(&self, prefetch: Prefetch) {
        let Some((labeller, instance)) = &self.label else { return };
        if let Err(error) = labeller.set(&self.node, instance, prefetch, LABEL).await {
            printer::failure("node label", &error);
        }
    }

    async fn submit(&self, attempts: &[Attempt]) {
        let Some(endpoint) = &self.endpoint else { return };
        if let Err(error) = submit(endpoint, &self.node, attempts, RESULTS).await {
            printer::failure("metrics", &error);
        }
    }
}
