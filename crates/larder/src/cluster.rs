//! The way to a cluster's API server: whose kubeconfig counts, how long an answer may take, and what refusals mean to people.

use std::future::Future;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use larder_api::{ImageCache, NodeImageSet};

use crate::cli::{ClusterArgs, ConnectArgs};
use crate::deploy::Label;

/// For one request; an API server that is being replaced hangs.
const CALL: Duration = Duration::from_secs(15);
/// A watch says nothing for longer only if it is dead: servers end or mark it within five minutes.
const SILENCE: Duration = Duration::from_secs(295);

/// A cluster, and the namespace that is meant.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// Why the cluster did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// It is not known where it is.
    #[error("no API server: the kubeconfig names none that can be used")]
    Nowhere(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It does not answer.
    #[error("no API server answers")]
    Unreachable {
        /// What came instead; nothing in time, if none.
        #[source]
        source: Option<Box<kube::Error>>,
    },
    /// The definition is not installed.
    #[error("the cluster does not know ImageCaches: install Larder first")]
    NoDefinition,
    /// The API server's own words.
    #[error("cannot {action}: {message}")]
    Refused {
        /// What was asked for.
        action: String,
        /// What it said.
        message: String,
        /// Its HTTP status.
        code: u16,
    },
    /// Something between here and there.
    #[error("cannot {action}")]
    Failed {
        /// What was asked for.
        action: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ClusterError {
    /// There is nobody to talk to.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Nowhere(_) | Self::Unreachable { .. })
    }
}

impl Cluster {
    /// As the flags say. Must be called in a tokio runtime; asks nothing of the server.
    pub(crate) async fn of(args: &ClusterArgs) -> Result<Self, ClusterError> {
        Self::connect(&args.connect, args.namespace.as_ref()).await
    }

    /// The same; without a namespace, the context's is meant.
    pub(crate) async fn connect(args: &ConnectArgs, namespace: Option<&Label>) -> Result<Self, ClusterError> {
        let ConnectArgs { kubeconfig, context } = args;
        let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(nowhere)?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(nowhere)?
            }
            None if context.is_some() => Config::from_kubeconfig(&options).await.map_err(nowhere)?,
            None => Config::infer().await.map_err(nowhere)?,
        };
        config.connect_timeout = Some(CALL);
        config.read_timeout = Some(SILENCE);
        let namespace = namespace.map_or_else(|| config.default_namespace.clone(), ToString::to_string);
        Ok(Self { client: Client::try_from(config).map_err(nowhere)?, namespace })
    }

    /// The caches of the namespace.
    pub(crate) fn caches(&self) -> Api<ImageCache> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The caches of all namespaces.
    pub(crate) fn all_caches(&self) -> Api<ImageCache> {
        Api::all(self.client.clone())
    }

    /// What nodes hold.
    pub(crate) fn sets(&self) -> Api<NodeImageSet> {
        Api::all(self.client.clone())
    }
}

fn nowhere(error: impl std::error::Error + Send + Sync + 'static) -> ClusterError {
    ClusterError::Nowhere(Box::new(error))
}

/// Waits for one answer; `action` completes "cannot ...".
pub(crate) async fn call<T>(
    action: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(CALL, request).await {
        Ok(answer) => answer.map_err(|error| refusal(action, error)),
        Err(_) => Err(ClusterError::Unreachable { source: None }),
    }
}

/// An object that may not be there.
pub(crate) fn optional<T>(answer: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(ClusterError::Refused { code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an error of the client means.
pub(crate) fn refusal(action: &str, error: kube::Error) -> ClusterError {
    let action = action.to_owned();
    match error {
        // A kind that is not there has no name to be missing.
        kube::Error::Api(status) if status.code == 404 && !names_an_object(&status) => {
            ClusterError::NoDefinition
        }
        kube::Error::Api(status) => {
            ClusterError::Refused { action, message: status.message.clone(), code: status.code }
        }
        error @ (kube::Error::HyperError(_) | kube::Error::Service(_)) => {
            ClusterError::Unreachable { source: Some(Box::new(error)) }
        }
        error => ClusterError::Failed { action, source: Box::new(error) },
    }
}

fn names_an_object(status: &kube::core::Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_object_is_none_and_a_missing_definition_is_said() {
        let missing = |name: &str| {
            let status = json!({ "message": "not found", "code": 404, "details": { "name": name } });
            let status: Status = serde_json::from_value(status).unwrap();
            optional::<()>(Err(refusal("read", kube::Error::Api(status.boxed()))))
        };
        assert!(matches!(missing("warm"), Ok(None)));
        assert!(matches!(missing(""), Err(ClusterError::NoDefinition)));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let status = Status::failure("spec is wrong", "Invalid").with_code(422);
        let error = refusal("create it", kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "cannot create it: spec is wrong");
        assert!(matches!(error, ClusterError::Refused { code: 422, .. }));
        assert!(!error.is_absence());
    }
}
