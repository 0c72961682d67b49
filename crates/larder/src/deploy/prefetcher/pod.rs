//! The pod of a prefetcher: `prefetch` pulls, and only when it has ended well does `sleep` make the pod ready.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvVar, PodSpec, SELinuxOptions, SecretVolumeSource, SecurityContext,
    Volume, VolumeMount,
};

use super::metrics::{self, GRPC_PORT};
use super::{Credentials, LIST_KEY, Metrics, Prefetcher};
use crate::deploy::container::{self, Share};
use crate::deploy::{Flavor, access};

/// The init container, as its logs are asked for.
const PREFETCH: &str = "prefetch";
/// Pulling is the runtime's work; talking to it about some hundred images takes little.
const PREFETCH_SHARE: Share = Share { cpu: ["20m", "1"], memory: ["32Mi", "256Mi"] };
/// The key of a secret of type kubernetes.io/dockerconfigjson.
const SECRET_KEY: &str = ".dockerconfigjson";
/// Only the container's root reads the secret.
const SECRET_MODE: i32 = 0o400;
/// The images of a template's list, so that another list makes other pods.
const LIST_ANNOTATION: &str = "dev.larder/image-list-digest";

/// A volume, and where `prefetch` has it.
struct Place {
    volume: Volume,
    mount: VolumeMount,
}

/// The node's runtime.
struct Runtime {
    /// The directory of its socket: the socket itself changes when the runtime starts anew.
    directory: &'static str,
    socket: &'static str,
    /// The image file system, whose free space sets how much is pulled.
    images: &'static str,
}

const CONTAINERD: Runtime =
    Runtime { directory: "/run/containerd", socket: "containerd.sock", images: "/var/lib/containerd" };
const CRIO: Runtime = Runtime { directory: "/run/crio", socket: "crio.sock", images: "/var/lib/containers" };

pub(super) fn spec(prefetcher: &Prefetcher) -> PodSpec {
    let (volumes, mounts): (Vec<_>, Vec<_>) =
        places(prefetcher).into_iter().map(|place| (place.volume, place.mount)).unzip();
    let image = prefetcher.image.to_string();
    let prefetch = Container {
        env: Some(environment(prefetcher)),
        security_context: Some(security(prefetcher.flavor)),
        volume_mounts: Some(mounts),
        ..container::container(PREFETCH, &image, arguments(prefetcher), &PREFETCH_SHARE)
    };
    PodSpec {
        service_account_name: Some(prefetcher.instance.named("")),
        automount_service_account_token: Some(false),
        init_containers: Some(vec![prefetch]),
        containers: vec![container::sleep(&image)],
        volumes: Some(volumes),
        security_context: Some(container::pod_security()),
        tolerations: Some(vec![container::everywhere()]),
        node_selector: Some(prefetcher.placement.selector()),
        priority_class_name: prefetcher.placement.priority_class.as_ref().map(ToString::to_string),
        ..PodSpec::default()
    }
}

pub(super) fn annotations(prefetcher: &Prefetcher) -> Option<BTreeMap<String, String>> {
    let list = prefetcher.list.as_ref().map(|list| (LIST_ANNOTATION.to_owned(), list.digest().to_string()));
    let constraint = (prefetcher.flavor == Flavor::Ocp).then(access::required_constraint);
    let annotations: BTreeMap<_, _> = list.into_iter().chain(constraint).collect();
    (!annotations.is_empty()).then_some(annotations)
}

fn runtime(flavor: Flavor) -> &'static Runtime {
    match flavor {
        Flavor::Vanilla => &CONTAINERD,
        Flavor::Ocp => &CRIO,
    }
}

fn arguments(prefetcher: &Prefetcher) -> Vec<String> {
    let mut arguments = vec![
        "fetch".to_owned(),
        format!("--cri-socket=/tmp/cri/{}", runtime(prefetcher.flavor).socket),
        format!("--image-list-file=/tmp/list/{LIST_KEY}"),
    ];
    if prefetcher.secret.is_some() {
        arguments.push(format!("--docker-config=/tmp/pull-secret/{SECRET_KEY}"));
    }
    if prefetcher.credentials == Credentials::Gke {
        arguments.push("--image-credential-provider-config=/tmp/kubelet/cri_auth_config.yaml".to_owned());
        arguments.push("--image-credential-provider-bin-dir=/tmp/kubelet-bin".to_owned());
    }
    if prefetcher.metrics != Metrics::Off {
        let service = metrics::collector(&prefetcher.instance);
        arguments.push(format!("--metrics-endpoint={service}:{GRPC_PORT}"));
    }
    arguments
}

/// A node's label needs a right that only a known namespace can be given; without one no label is asked for.
fn environment(prefetcher: &Prefetcher) -> Vec<EnvVar> {
    let instance = prefetcher.instance.namespace.as_ref().map(|_| EnvVar {
        name: "INSTANCE_NAME".to_owned(),
        value: Some(prefetcher.instance.named("")),
        ..EnvVar::default()
    });
    std::iter::once(container::node_name()).chain(instance).collect()
}

/// The socket is root's. Where SELinux guards it, as on OpenShift, an ordinary container's type may not connect.
fn security(flavor: Flavor) -> SecurityContext {
    let super_container = || SELinuxOptions { type_: Some("spc_t".to_owned()), ..SELinuxOptions::default() };
    SecurityContext {
        se_linux_options: (flavor == Flavor::Ocp).then(super_container),
        ..container::as_root(container::confined())
    }
}

fn places(prefetcher: &Prefetcher) -> Vec<Place> {
    let runtime = runtime(prefetcher.flavor);
    let mut places = vec![
        host("cri", runtime.directory, "/tmp/cri"),
        host("images", runtime.images, runtime.images),
        list(prefetcher.instance.named("")),
    ];
    places.extend(prefetcher.secret.as_ref().map(|secret| pull_secret(secret.to_string())));
    if prefetcher.credentials == Credentials::Gke {
        places.push(host("kubelet", "/etc/srv/kubernetes", "/tmp/kubelet"));
        places.push(host("kubelet-bin", "/home/kubernetes/bin", "/tmp/kubelet-bin"));
    }
    if prefetcher.instance.namespace.is_some() {
        let mount = container::read_only("token", access::TOKEN_DIRECTORY);
        places.push(Place { volume: access::token("token"), mount });
    }
    places
}

fn host(name: &str, directory: &str, path: &str) -> Place {
    Place { volume: container::host_directory(name, directory), mount: container::read_only(name, path) }
}

fn list(config_map: String) -> Place {
    let source = ConfigMapVolumeSource { name: config_map, ..ConfigMapVolumeSource::default() };
    let volume = Volume { name: "list".to_owned(), config_map: Some(source), ..Volume::default() };
    Place { volume, mount: container::read_only("list", "/tmp/list") }
}

fn pull_secret(name: String) -> Place {
    let source = SecretVolumeSource {
        secret_name: Some(name),
        default_mode: Some(SECRET_MODE),
        ..SecretVolumeSource::default()
    };
    let volume = Volume { name: "pull-secret".to_owned(), secret: Some(source), ..Volume::default() };
    Place { volume, mount: container::read_only("pull-secret", "/tmp/pull-secret") }
}
