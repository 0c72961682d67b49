//! What collects the results: one pod, a service that it is read through, and one that only the cluster can reach for the
//! pods that deliver.

use clap::ValueEnum;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, HTTPGetAction, PodSpec, PodTemplateSpec, Probe, Service, ServicePort,
    ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use larder_core::ImageRef;

use crate::deploy::Object;
use crate::deploy::container::{self, Share};
use crate::deploy::metadata::{Component, Instance};

/// Where results are delivered.
pub(super) const GRPC_PORT: i32 = 8443;
/// Where they are read.
const HTTP_PORT: i32 = 8080;
/// The default, but part of a port's identity in server-side apply: old API servers refuse a port without it.
const PROTOCOL: &str = "TCP";
const GRPC: &str = "grpc";
const HTTP: &str = "http";
/// Tells from its answer whether results are taken.
const HEALTH: &str = "/healthz";
/// It keeps results in memory, with a bound of its own.
const SHARE: Share = Share { cpu: ["5m", "100m"], memory: ["32Mi", "128Mi"] };
/// Between two questions after its health, seconds.
const PERIOD: i32 = 10;

/// How a service can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceType {
    /// From within the cluster
    #[value(name = "ClusterIP")]
    ClusterIp,
    /// By a port of every node
    #[value(name = "NodePort")]
    NodePort,
    /// From outside, by an address of its own
    #[default]
    #[value(name = "LoadBalancer")]
    LoadBalancer,
}

impl ServiceType {
    fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The service that results are delivered to.
pub(super) fn collector(instance: &Instance) -> String {
    instance.named("-metrics-grpc")
}

pub(super) fn objects(instance: &Instance, image: &ImageRef, reader: ServiceType) -> [Object; 3] {
    let name = instance.named("-metrics");
    [
        Object::Deployment(Box::new(deployment(instance, name.clone(), image))),
        service(instance, name, reader, HTTP, HTTP_PORT),
        service(instance, collector(instance), ServiceType::ClusterIp, GRPC, GRPC_PORT),
    ]
}

/// Two pods would have half of the results each: the old one goes first.
fn deployment(instance: &Instance, name: String, image: &ImageRef) -> Deployment {
    let spec = DeploymentSpec {
        replicas: Some(1),
        selector: instance.selector(Component::Metrics),
        strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
        template: PodTemplateSpec {
            metadata: Some(instance.labelled(Component::Metrics)),
            spec: Some(pod(&image.to_string())),
        },
        ..DeploymentSpec::default()
    };
    let metadata = instance.namespaced(name, Component::Metrics);
    Deployment { metadata, spec: Some(spec), status: None }
}

fn pod(image: &str) -> PodSpec {
    let arguments = [
        "aggregate-metrics".to_owned(),
        format!("--grpc-port={GRPC_PORT}"),
        format!("--http-port={HTTP_PORT}"),
    ];
    let aggregator = Container {
        ports: Some(vec![port(GRPC, GRPC_PORT), port(HTTP, HTTP_PORT)]),
        liveness_probe: Some(probe()),
        readiness_probe: Some(probe()),
        ..container::container("aggregate-metrics", image, arguments.to_vec(), &SHARE)
    };
    PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![aggregator],
        node_selector: Some([("kubernetes.io/os".to_owned(), "linux".to_owned())].into()),
        security_context: Some(container::pod_security()),
        ..PodSpec::default()
    }
}

fn service(instance: &Instance, name: String, reach: ServiceType, port: &str, number: i32) -> Object {
    let port = ServicePort {
        name: Some(port.to_owned()),
        port: number,
        protocol: Some(PROTOCOL.to_owned()),
        target_port: Some(IntOrString::String(port.to_owned())),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some(reach.name().to_owned()),
        selector: Some(instance.labels(Component::Metrics)),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    let metadata = instance.namespaced(name, Component::Metrics);
    Object::Service(Box::new(Service { metadata, spec: Some(spec), status: None }))
}

fn port(name: &str, number: i32) -> ContainerPort {
    let name = Some(name.to_owned());
    ContainerPort {
        name,
        container_port: number,
        protocol: Some(PROTOCOL.to_owned()),
        ..ContainerPort::default()
    }
}

fn probe() -> Probe {
    let get = HTTPGetAction {
        path: Some(HEALTH.to_owned()),
        port: IntOrString::String(HTTP.to_owned()),
        ..HTTPGetAction::default()
    };
    Probe { http_get: Some(get), period_seconds: Some(PERIOD), ..Probe::default() }
}
