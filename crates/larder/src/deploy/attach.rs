//! `larder deploy attach`: a DaemonSet whose pods attach the disk of a claim that many nodes read.
//!
//! The kubelet's mount of the claim goes with the pod. So the pod enters the host's mount namespace and leaves there a mount of
//! its own of the same disk, which goes on when pod and DaemonSet are gone. Every other path is the host's then, too: no
//! directory of the node is mounted into the pod.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, SecurityContext, Volume,
};
use larder_core::ImageRef;

use super::container::{self, Share};
use super::metadata::{Component, Instance};
use super::{Flavor, Object, ObjectName, Placement, access};

const ATTACH: &str = "attach";
/// Reading a disk's tables and telling containerd about some hundred images.
const ATTACH_SHARE: Share = Share { cpu: ["50m", "1"], memory: ["64Mi", "256Mi"] };
const DISK: &str = "disk";
const DISK_DIRECTORY: &str = "/disk";
/// The host's, since the pod shares its processes.
const HOST_MOUNTS: &str = "/proc/1/ns/mnt";

/// What attaches a disk to nodes, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Attach {
    /// Its name and place.
    pub(crate) instance: Instance,
    /// Larder's own image.
    pub(crate) image: ImageRef,
    /// The kind of cluster.
    pub(crate) flavor: Flavor,
    /// The claim of the disk.
    pub(crate) claim: ObjectName,
    /// Which nodes.
    pub(crate) placement: Placement,
}

impl Attach {
    /// Everything that is to be applied, in that order.
    pub(crate) fn objects(&self) -> Vec<Object> {
        let mut objects = vec![access::account(&self.instance, Component::Attach)];
        if self.flavor == Flavor::Ocp {
            objects.extend(access::constraint_user(&self.instance, Component::Attach));
        }
        objects.push(Object::DaemonSet(Box::new(self.daemon_set())));
        objects
    }

    fn daemon_set(&self) -> DaemonSet {
        let mut template = self.instance.labelled(Component::Attach);
        let constraint = || [access::required_constraint()].into();
        template.annotations = (self.flavor == Flavor::Ocp).then(constraint);
        let spec = DaemonSetSpec {
            selector: self.instance.selector(Component::Attach),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(self.pod()) },
            update_strategy: Some(self.placement.update_strategy()),
            ..DaemonSetSpec::default()
        };
        let metadata = self.instance.namespaced(self.instance.named(""), Component::Attach);
        DaemonSet { metadata, spec: Some(spec), status: None }
    }

    fn pod(&self) -> PodSpec {
        let image = self.image.to_string();
        let arguments = [
            "attach".to_owned(),
            format!("--disk={DISK_DIRECTORY}"),
            format!("--mount-namespace={HOST_MOUNTS}"),
        ];
        let attach = Container {
            security_context: Some(privileged()),
            volume_mounts: Some(vec![container::read_only(DISK, DISK_DIRECTORY)]),
            ..container::container(ATTACH, &image, arguments.to_vec(), &ATTACH_SHARE)
        };
        PodSpec {
            service_account_name: Some(self.instance.named("")),
            automount_service_account_token: Some(false),
            host_pid: Some(true),
            init_containers: Some(vec![attach]),
            containers: vec![container::sleep(&image)],
            volumes: Some(vec![self.disk()]),
            security_context: Some(container::pod_security()),
            tolerations: Some(vec![container::everywhere()]),
            node_selector: Some(self.placement.selector()),
            priority_class_name: self.placement.priority_class.as_ref().map(ToString::to_string),
            ..PodSpec::default()
        }
    }

    fn disk(&self) -> Volume {
        let claim =
            PersistentVolumeClaimVolumeSource { claim_name: self.claim.to_string(), read_only: Some(true) };
        Volume { name: DISK.to_owned(), persistent_volume_claim: Some(claim), ..Volume::default() }
    }
}

/// Mounting on the host takes `CAP_SYS_ADMIN`, and AppArmor's and SELinux's usual profiles forbid it to whoever is not privileged.
fn privileged() -> SecurityContext {
    container::as_root(SecurityContext {
        privileged: Some(true),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    })
}
