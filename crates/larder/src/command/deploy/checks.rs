//! What `rules` asks of objects, pods and containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, PodSpec, PodTemplateSpec, Probe, SecurityContext, Service, ServicePort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::deploy::Object;

/// kube-linter's list for `sensitive-host-mounts`.
const SENSITIVE: [&str; 8] = ["/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr"];
const COMPONENT: &str = "app.kubernetes.io/component";

/// A pod in a template, and what surrounds it.
struct Template<'a> {
    /// What selects the pods.
    selector: &'a BTreeMap<String, String>,
    pods: &'a PodTemplateSpec,
    namespace: Option<&'a str>,
    replicas: Option<i32>,
}

impl<'a> Template<'a> {
    fn pod(&self) -> &'a PodSpec {
        self.pods.spec.as_ref().unwrap()
    }

    fn component(&self) -> &'a str {
        &self.selector[COMPONENT]
    }

    fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        let own = self.pods.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        own.is_some_and(|own| labels.iter().all(|(key, value)| own.get(key) == Some(value)))
    }
}

fn templates(objects: &[Object]) -> impl Iterator<Item = Template<'_>> {
    objects.iter().filter_map(|object| {
        let (metadata, selector, template, replicas) = match object {
            Object::Deployment(deployment) => {
                let spec = deployment.spec.as_ref().unwrap();
                (&deployment.metadata, &spec.selector, &spec.template, spec.replicas)
            }
            Object::DaemonSet(set) => {
                let spec = set.spec.as_ref().unwrap();
                (&set.metadata, &spec.selector, &spec.template, None)
            }
            _ => return None,
        };
        let selector = selector.match_labels.as_ref().unwrap();
        Some(Template { selector, pods: template, namespace: metadata.namespace.as_deref(), replicas })
    })
}

fn of_templates(objects: &[Object], breaks: impl Fn(&Template<'_>) -> bool) -> Vec<String> {
    templates(objects).filter(breaks).map(|template| template.component().to_owned()).collect()
}

/// Pods for which `breaks` holds.
pub(super) fn of_pods(objects: &[Object], breaks: fn(&PodSpec) -> bool) -> Vec<String> {
    of_templates(objects, |template| breaks(template.pod()))
}

/// Containers for which `breaks` holds, those that run first included.
pub(super) fn of_containers(objects: &[Object], breaks: fn(&PodSpec, &Container) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for template in templates(objects) {
        let pod = template.pod();
        let all = pod.init_containers.iter().flatten().chain(&pod.containers);
        let broken = all.filter(|container| breaks(pod, container));
        places.extend(broken.map(|container| format!("{}/{}", template.component(), container.name)));
    }
    places
}

/// Containers for which `breaks` holds, without those that run first.
pub(super) fn of_long_running(objects: &[Object], breaks: fn(&Container) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for template in templates(objects) {
        let broken = template.pod().containers.iter().filter(|container| breaks(container));
        places.extend(broken.map(|container| format!("{}/{}", template.component(), container.name)));
    }
    places
}

fn services(objects: &[Object]) -> impl Iterator<Item = &Service> {
    objects.iter().filter_map(|object| match object {
        Object::Service(service) => Some(&**service),
        _ => None,
    })
}

/// Services that lead to no pod of ours.
pub(super) fn dangling_service(objects: &[Object]) -> Vec<String> {
    let leads = |service: &Service| {
        let selector = service.spec.as_ref().unwrap().selector.as_ref().unwrap();
        let namespace = service.metadata.namespace.as_deref();
        templates(objects).any(|template| template.namespace == namespace && template.has(selector))
    };
    let dangling = services(objects).filter(|service| !leads(service));
    dangling.map(|service| service.metadata.name.clone().unwrap()).collect()
}

/// Ports of services that are no port, or that no pod names; and containers' port names that are none.
pub(super) fn invalid_target_ports(objects: &[Object]) -> Vec<String> {
    let names: Vec<(&str, &str)> = templates(objects).flat_map(|template| port_names(&template)).collect();
    let leads = |port: &ServicePort| match port.target_port.as_ref() {
        Some(IntOrString::Int(number)) => *number > 0,
        Some(IntOrString::String(name)) => names.iter().any(|(_, other)| other == name),
        None => true,
    };
    let ports = services(objects).flat_map(|service| service.spec.as_ref().unwrap().ports.iter().flatten());
    let dead = ports.filter(|port| !leads(port)).map(|port| format!("service port {}", port.port));
    let bad = names.iter().filter(|(_, name)| !is_port_name(name));
    dead.chain(bad.map(|(component, name)| format!("{component} port {name}"))).collect()
}

fn port_names<'a>(template: &Template<'a>) -> Vec<(&'a str, &'a str)> {
    let containers = template.pod().containers.iter();
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| Some((template.component(), port.name.as_deref()?))).collect()
}

/// An IANA service name (RFC 6335).
fn is_port_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    (1..=15).contains(&name.len()) && plain && !name.starts_with('-') && !name.ends_with('-')
}

/// Pods that are not selected by what makes them.
pub(super) fn mismatching_selector(objects: &[Object]) -> Vec<String> {
    of_templates(objects, |template| !template.has(template.selector))
}

/// Pods of which several could be on one node.
pub(super) fn several_replicas(objects: &[Object]) -> Vec<String> {
    of_templates(objects, |template| {
        template.replicas.is_some_and(|replicas| replicas > 1) && !keeps_apart(template.pod())
    })
}

/// Whether the pod would rather not be where another is.
fn keeps_apart(pod: &PodSpec) -> bool {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    affinity.is_some_and(|affinity| {
        affinity.preferred_during_scheduling_ignored_during_execution.is_some()
            || affinity.required_during_scheduling_ignored_during_execution.is_some()
    })
}

/// Objects of an API that is not stable.
pub(super) fn beta(objects: &[Object]) -> Vec<String> {
    let version = |object| serde_json::to_value(object).unwrap()["apiVersion"].as_str().unwrap().to_owned();
    objects
        .iter()
        .map(version)
        .filter(|version| version.contains("alpha") || version.contains("beta"))
        .collect()
}

/// Pods that act as somebody who is not there.
pub(super) fn unknown_account(objects: &[Object]) -> Vec<String> {
    let there = |name: &str, namespace: Option<&str>| {
        objects.iter().any(|object| match object {
            Object::ServiceAccount(account) => {
                let metadata = &account.metadata;
                metadata.name.as_deref() == Some(name) && metadata.namespace.as_deref() == namespace
            }
            _ => false,
        })
    };
    of_templates(objects, |template| {
        let name = template.pod().service_account_name.as_deref();
        name.is_some_and(|name| !there(name, template.namespace))
    })
}

/// Containers that can change a directory of the node.
pub(super) fn writable_host_mount(objects: &[Object]) -> Vec<String> {
    of_containers(objects, |pod, container| {
        let of_host = |name: &str| {
            pod.volumes.iter().flatten().any(|volume| volume.name == name && volume.host_path.is_some())
        };
        let mut mounts = container.volume_mounts.iter().flatten();
        mounts.any(|mount| of_host(&mount.name) && mount.read_only != Some(true))
    })
}

pub(super) fn host_paths(pod: &PodSpec) -> impl Iterator<Item = &str> {
    let volumes = pod.volumes.iter().flatten();
    volumes.filter_map(|volume| volume.host_path.as_ref()).map(|host_path| host_path.path.as_str())
}

pub(super) fn is_sensitive(path: &str) -> bool {
    SENSITIVE.contains(&path)
}

pub(super) fn has_seccomp(pod: &PodSpec) -> bool {
    let profile = pod.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    profile.is_some_and(|profile| profile.type_ == "RuntimeDefault")
}

pub(super) fn context(container: &Container) -> &SecurityContext {
    container.security_context.as_ref().unwrap()
}

pub(super) fn drops_all(container: &Container) -> bool {
    let capabilities = context(container).capabilities.as_ref();
    let dropped = capabilities.and_then(|capabilities| capabilities.drop.as_ref());
    let added = capabilities.and_then(|capabilities| capabilities.add.as_ref());
    dropped.is_some_and(|dropped| dropped.iter().any(|name| name == "ALL")) && added.is_none()
}

pub(super) fn has_duplicates(container: &Container) -> bool {
    let names = || container.env.iter().flatten().map(|variable| &variable.name);
    names().enumerate().any(|(index, name)| names().skip(index + 1).any(|other| other == name))
}

pub(super) fn has_secret_variable(container: &Container) -> bool {
    let mut variables = container.env.iter().flatten();
    variables.any(|variable| variable.name.to_lowercase().contains("secret") && variable.value.is_some())
}

/// A digest, or a tag other than `latest`.
pub(super) fn has_fixed_tag(container: &Container) -> bool {
    let image = container.image.as_deref().unwrap();
    let last = image.rsplit('/').next().unwrap();
    last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

pub(super) fn ports(container: &Container) -> impl Iterator<Item = i32> {
    container.ports.iter().flatten().map(|port| port.container_port)
}

/// Whether a probe asks at a port that the container does not have.
pub(super) fn misses_port(container: &Container, probe: Option<&Probe>) -> bool {
    let Some(get) = probe.and_then(|probe| probe.http_get.as_ref()) else { return false };
    let mut ports = container.ports.iter().flatten();
    !ports.any(|port| match &get.port {
        IntOrString::Int(number) => port.container_port == *number,
        IntOrString::String(name) => port.name.as_ref() == Some(name),
    })
}

pub(super) fn may_be_root(pod: &PodSpec, container: &Container) -> bool {
    let (own, general) = (context(container), pod.security_context.as_ref());
    let non_root = own.run_as_non_root.or(general.and_then(|general| general.run_as_non_root));
    let user = own.run_as_user.or(general.and_then(|general| general.run_as_user));
    user == Some(0) || (non_root != Some(true) && user.is_none())
}

/// Whether the container says what it needs of something, and what it gets at most.
pub(super) fn asks_for(container: &Container, what: &str) -> bool {
    container.resources.as_ref().is_some_and(|resources| {
        [&resources.requests, &resources.limits]
            .into_iter()
            .all(|amounts| amounts.as_ref().is_some_and(|amounts| amounts.contains_key(what)))
    })
}
