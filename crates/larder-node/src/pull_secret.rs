//! Pull secrets, read from the Kubernetes API by name. What is in them is for whoever matches credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::kubernetes::{Cluster, SetupError, ask};
use crate::persist::GaveUp;

/// Reads secrets.
#[derive(Clone)]
pub struct SecretReader {
    cluster: Cluster,
}

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// `kubernetes.io/dockerconfigjson`, for one.
    pub kind: String,
    /// By key, decoded from base64.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API server will never give it.
    #[error("the API server does not give it")]
    Refused(#[source] Box<kube::Error>),
    /// The API server did not answer in time.
    #[error("the API server did not give it within {limit:?}, asked {calls} times")]
    TimedOut {
        /// The time that there was.
        limit: Duration,
        /// How often it was tried.
        calls: u32,
        /// What it said last, if anything.
        #[source]
        last: Option<Box<kube::Error>>,
    },
}

impl fmt::Debug for SecretReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretReader").field("namespace", &self.cluster.namespace).finish_non_exhaustive()
    }
}

/// Without what is secret.
impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSecret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl SecretReader {
    /// Of the cluster that this pod is in, or else of the one that `KUBECONFIG` names; none where neither is there. Must be
    /// called in a tokio runtime.
    pub async fn from_environment() -> Result<Option<Self>, SetupError> {
        Ok(Cluster::from_environment().await?.map(|cluster| Self { cluster }))
    }

    /// Of this cluster.
    pub(crate) fn of(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// The namespace of secrets that are named without one: the pod's own, or that of the kubeconfig's context.
    pub fn namespace(&self) -> &str {
        &self.cluster.namespace
    }

    /// Reads one secret within `limit`.
    pub async fn read(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
    ) -> Result<StoredSecret, SecretError> {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), namespace);
        let Secret { type_, data, .. } =
            ask(limit, || secrets.get(name)).await.map_err(|gave_up| SecretError::of(gave_up, limit))?;
        let data = data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        Ok(StoredSecret { kind: type_.unwrap_or_default(), data })
    }
}

impl SecretError {
    fn of(gave_up: GaveUp<kube::Error>, limit: Duration) -> Self {
        match gave_up {
            GaveUp::Lasting(source) => Self::Refused(Box::new(source)),
            GaveUp::TimedOut { calls, last } => Self::TimedOut { limit, calls, last: last.map(Box::new) },
        }
    }
}
