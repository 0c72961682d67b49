//! What the printed containers have in common: how little they may do, how much they may use, and the one that sleeps.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, HostPathVolumeSource, ObjectFieldSelector,
    PodSecurityContext, ResourceRequirements, SeccompProfile, SecurityContext, Toleration, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// How much a container asks for, and may use at most.
pub(super) struct Share {
    pub(super) cpu: [&'static str; 2],
    pub(super) memory: [&'static str; 2],
}

/// Sleeping takes nothing; the limit is what starting a container takes.
const SLEEP: Share = Share { cpu: ["1m", "100m"], memory: ["8Mi", "64Mi"] };
/// The container that keeps a pod running once its work is done.
const SLEEPER: &str = "sleep";

/// A container of Larder's image with the rights of nobody.
pub(super) fn container(name: &str, image: &str, args: Vec<String>, share: &Share) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        args: Some(args),
        resources: Some(resources(share)),
        security_context: Some(confined()),
        ..Container::default()
    }
}

/// Keeps a pod running after its init containers have done the work.
pub(super) fn sleep(image: &str) -> Container {
    container(SLEEPER, image, vec!["sleep".to_owned()], &SLEEP)
}

/// No way to more rights, and no file of the image changes.
pub(super) fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// Root in the container, with no capability: what owns a file or socket that only root may use.
pub(super) fn as_root(context: SecurityContext) -> SecurityContext {
    SecurityContext { run_as_user: Some(0), run_as_non_root: Some(false), ..context }
}

/// For a whole pod: not root, unless a container says otherwise, and only the usual system calls.
pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Every node, whatever keeps other pods away from it: a node without its images would be forgotten in silence.
pub(super) fn everywhere() -> Toleration {
    Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }
}

/// The name of the node, which in a pod is not the host's name.
pub(super) fn node_name() -> EnvVar {
    let field =
        ObjectFieldSelector { field_path: "spec.nodeName".to_owned(), ..ObjectFieldSelector::default() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: "NODE_NAME".to_owned(), value_from: Some(source), ..EnvVar::default() }
}

/// A directory of the node.
pub(super) fn host_directory(name: &str, path: &str) -> Volume {
    let host_path = HostPathVolumeSource { path: path.to_owned(), ..HostPathVolumeSource::default() };
    Volume { name: name.to_owned(), host_path: Some(host_path), ..Volume::default() }
}

/// A volume at `path` that the container cannot change.
pub(super) fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn resources(share: &Share) -> ResourceRequirements {
    let of = |index: usize| {
        let quantities = [("cpu", share.cpu[index]), ("memory", share.memory[index])];
        Some(BTreeMap::from(quantities.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))))
    };
    ResourceRequirements { requests: of(0), limits: of(1), ..ResourceRequirements::default() }
}
