//! The kinds of objects that are printed, and the form in which they are.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;

/// A Kubernetes object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(untagged)]
pub(crate) enum Object {
    /// Whom pods act as.
    ServiceAccount(ServiceAccount),
    /// Rights everywhere.
    ClusterRole(ClusterRole),
    /// Who has them.
    ClusterRoleBinding(ClusterRoleBinding),
    /// Rights in one namespace.
    Role(Role),
    /// Who has them.
    RoleBinding(RoleBinding),
    /// An image list.
    ConfigMap(ConfigMap),
    /// A way to pods.
    Service(Box<Service>),
    /// A pod somewhere.
    Deployment(Box<Deployment>),
    /// A pod on each node.
    DaemonSet(Box<DaemonSet>),
}

/// The objects as YAML documents.
pub(crate) fn yaml(objects: &[Object]) -> Result<String, serde_saphyr::ser_error::Error> {
    serde_saphyr::to_string_multiple(objects)
}
