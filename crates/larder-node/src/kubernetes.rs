//! The way to the Kubernetes API: how it is found, and asking until it answers or never will. Knows no kind of object.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::persist::{Failure, GaveUp, Patience, persist};

/// For one request: an API server that is being replaced hangs, and the next one answers.
const CALL: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What kubelet sets in every pod of a cluster.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// It is not known how the API server is reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client of the Kubernetes API")]
pub struct SetupError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// An API server, and the namespace that names without one are in.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Cluster {
    /// As the pod's service account in a cluster, or else as `KUBECONFIG` says; none where neither is there. Must be called in
    /// a tokio runtime.
    pub(crate) async fn from_environment() -> Result<Option<Self>, SetupError> {
        let config = match source(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
            Source::Nowhere => return Ok(None),
            Source::Cluster => Config::incluster().map_err(setup)?,
            Source::File => {
                let path = PathBuf::from(env::var_os("KUBECONFIG").unwrap_or_default());
                let file = Kubeconfig::read_from(path).map_err(setup)?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(file, &options).await.map_err(setup)?
            }
        };
        let namespace = config.default_namespace.clone();
        Ok(Some(Self { client: Client::try_from(config).map_err(setup)?, namespace }))
    }
}

/// How the API server is found.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Cluster,
    File,
    Nowhere,
}

fn source(is_set: impl Fn(&str) -> bool) -> Source {
    match () {
        () if is_set(IN_CLUSTER) => Source::Cluster,
        () if is_set("KUBECONFIG") => Source::File,
        () => Source::Nowhere,
    }
}

fn setup(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SetupError {
    SetupError(error.into())
}

/// Asks until there is an answer that will stay, within `limit`.
pub(crate) async fn ask<T, C>(limit: Duration, mut call: impl FnMut() -> C) -> Result<T, GaveUp<kube::Error>>
where
    C: Future<Output = kube::Result<T>>,
{
    let patience = Patience { limit, call: CALL, first_wait: FIRST_WAIT, longest_wait: LONGEST_WAIT };
    let judge = |error| if is_lasting(&error) { Failure::Lasting(error) } else { Failure::Passing(error) };
    persist(patience, || {
        let asked = call();
        async move { asked.await.map_err(judge) }
    })
    .await
}

/// Whether the API server understood the request and does not want it; too many requests and its own trouble pass.
fn is_lasting(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_its_own_cluster_whatever_else_is_set() {
        assert_eq!(source(|_| true), Source::Cluster);
        assert_eq!(source(|name| name == "KUBECONFIG"), Source::File);
        assert_eq!(source(|_| false), Source::Nowhere);
    }

    #[test]
    fn only_what_the_request_itself_causes_is_lasting() {
        let error = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            kube::Error::Api(Box::new(status))
        };
        for code in [400, 401, 403, 404, 422] {
            assert!(is_lasting(&error(code)), "{code}");
        }
        for code in [408, 409, 429, 500, 503] {
            assert!(!is_lasting(&error(code)), "{code}");
        }
    }
}
