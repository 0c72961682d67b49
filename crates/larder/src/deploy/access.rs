//! Whom pods act as, and what that one may do.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector,
    ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::metadata::{Component, Instance};
use super::{Label, Object};

/// Where a program in a pod looks for its token (Kubernetes, "Accessing the Kubernetes API from a Pod").
pub(super) const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The shortest that the kubelet renews in good time, seconds; what it gives to pods by itself, too.
const TOKEN_SECONDS: i64 = 3607;
const RBAC: &str = "rbac.authorization.k8s.io";
/// OpenShift's constraint for pods that use the host's directories.
const CONSTRAINT: &str = "privileged";

/// The instance's own account; no pod gets its token unless it asks for it.
pub(super) fn account(instance: &Instance, component: Component) -> Object {
    Object::ServiceAccount(ServiceAccount {
        metadata: instance.namespaced(instance.named(""), component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// The right to label nodes. Its objects are outside all namespaces, so the instance's namespace is in their name.
pub(super) fn node_labeler(instance: &Instance, namespace: &Label, component: Component) -> [Object; 2] {
    let name = format!("{namespace}:{}:node-labeler", instance.name);
    let metadata = instance.unplaced(name.clone(), component);
    let labelling = rule("", "nodes", &["get", "patch"], None);
    let role =
        ClusterRole { metadata: metadata.clone(), rules: Some(vec![labelling]), ..ClusterRole::default() };
    let subject = Subject { namespace: Some(namespace.to_string()), ..subject(instance) };
    let binding = ClusterRoleBinding {
        metadata,
        role_ref: role_ref("ClusterRole", name),
        subjects: Some(vec![subject]),
    };
    [Object::ClusterRole(role), Object::ClusterRoleBinding(binding)]
}

/// The right to use OpenShift's constraint. The subject needs no namespace: it is the binding's.
pub(super) fn constraint_user(instance: &Instance, component: Component) -> [Object; 2] {
    let name = instance.named("-privileged-scc");
    let metadata = instance.namespaced(name.clone(), component);
    let group = "security.openshift.io";
    let using = rule(group, "securitycontextconstraints", &["use"], Some(CONSTRAINT));
    let role = Role { metadata: metadata.clone(), rules: Some(vec![using]) };
    let subjects = Some(vec![subject(instance)]);
    let binding = RoleBinding { metadata, role_ref: role_ref("Role", name), subjects };
    [Object::Role(role), Object::RoleBinding(binding)]
}

/// The annotation by which OpenShift runs a pod under that constraint and no other.
pub(super) fn required_constraint() -> (String, String) {
    ("openshift.io/required-scc".to_owned(), CONSTRAINT.to_owned())
}

/// What a program in a pod needs to talk to the API server, for the one container that mounts it.
pub(super) fn token(volume: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..ServiceAccountTokenProjection::default()
    };
    let ca = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
        optional: None,
    };
    let field = ObjectFieldSelector { field_path: "metadata.namespace".to_owned(), api_version: None };
    let namespace =
        DownwardAPIVolumeFile { path: "namespace".to_owned(), field_ref: Some(field), ..Default::default() };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(ca), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: None };
    Volume { name: volume.to_owned(), projected: Some(projected), ..Volume::default() }
}

fn rule(group: &str, resource: &str, verbs: &[&str], name: Option<&str>) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        resource_names: name.map(|name| vec![name.to_owned()]),
        ..PolicyRule::default()
    }
}

fn subject(instance: &Instance) -> Subject {
    Subject { kind: "ServiceAccount".to_owned(), name: instance.named(""), ..Subject::default() }
}

fn role_ref(kind: &str, name: String) -> RoleRef {
    RoleRef { api_group: RBAC.to_owned(), kind: kind.to_owned(), name }
}
