//! kube-linter's default rules, by its names, and some of our own, over the typed objects. A breach is allowed only by an
//! exception with its reason; an exception that nothing needs is a fault, too.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, HostPathVolumeSource, PodSpec, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::checks::{
    asks_for, beta, context, dangling_service, drops_all, has_duplicates, has_fixed_tag, has_seccomp,
    has_secret_variable, host_paths, invalid_target_ports, is_sensitive, may_be_root, mismatching_selector,
    misses_port, of_containers, of_long_running, of_pods, ports, several_replicas, unknown_account,
    writable_host_mount,
};
use super::install::installed;
use super::variants::{all, objects};
use crate::deploy::Object;

/// The pods and containers that break a rule: `attach` and `attach/sleep` (component and container), or other objects' names.
type Rule = fn(&[Object]) -> Vec<String>;

const RULES: [(&str, Rule); 32] = [
    ("dangling-service", dangling_service),
    ("deprecated-service-account-field", |o| of_pods(o, |pod| pod.service_account.is_some())),
    ("docker-sock", |o| of_pods(o, |pod| host_paths(pod).any(|path| path.contains(".sock")))),
    ("drop-net-raw-capability", |o| of_containers(o, |_, c| !drops_all(c))),
    ("duplicate-env-var", |o| of_containers(o, |_, c| has_duplicates(c))),
    ("env-var-secret", |o| of_containers(o, |_, c| has_secret_variable(c))),
    ("host-ipc", |o| of_pods(o, |pod| pod.host_ipc == Some(true))),
    ("host-network", |o| of_pods(o, |pod| pod.host_network == Some(true))),
    ("host-pid", |o| of_pods(o, |pod| pod.host_pid == Some(true))),
    ("invalid-target-ports", invalid_target_ports),
    ("latest-tag", |o| of_containers(o, |_, c| !has_fixed_tag(c))),
    ("liveness-port", |o| of_containers(o, |_, c| misses_port(c, c.liveness_probe.as_ref()))),
    ("mismatching-selector", mismatching_selector),
    ("no-anti-affinity", several_replicas),
    ("no-extensions-v1beta", beta),
    ("no-read-only-root-fs", |o| of_containers(o, |_, c| context(c).read_only_root_filesystem != Some(true))),
    ("non-existent-service-account", unknown_account),
    ("privilege-escalation-container", |o| {
        of_containers(o, |_, c| context(c).allow_privilege_escalation != Some(false))
    }),
    ("privileged-container", |o| of_containers(o, |_, c| context(c).privileged == Some(true))),
    ("readiness-port", |o| of_containers(o, |_, c| misses_port(c, c.readiness_probe.as_ref()))),
    ("run-as-non-root", |o| of_containers(o, may_be_root)),
    ("sensitive-host-mounts", |o| of_pods(o, |pod| host_paths(pod).any(is_sensitive))),
    ("ssh-port", |o| of_containers(o, |_, c| ports(c).any(|port| port == 22))),
    ("startup-port", |o| of_containers(o, |_, c| misses_port(c, c.startup_probe.as_ref()))),
    ("unsafe-sysctls", |o| {
        of_pods(o, |pod| pod.security_context.as_ref().is_none_or(|s| s.sysctls.is_some()))
    }),
    ("unset-cpu-requirements", |o| of_containers(o, |_, c| !asks_for(c, "cpu"))),
    ("unset-memory-requirements", |o| of_containers(o, |_, c| !asks_for(c, "memory"))),
    // Not among the linter's defaults, or not at all.
    ("writable-host-mount", writable_host_mount),
    ("no-liveness-probe", |o| of_long_running(o, |c| c.liveness_probe.is_none())),
    ("no-readiness-probe", |o| of_long_running(o, |c| c.readiness_probe.is_none())),
    ("seccomp", |o| of_pods(o, |pod| !has_seccomp(pod))),
    ("automounted-token", |o| of_pods(o, |pod| pod.automount_service_account_token != Some(false))),
];

/// Defaults of kube-linter about kinds of objects that `Object` does not have.
const NO_SUCH_KIND: [&str; 4] = [
    "job-ttl-seconds-after-finished",
    "pdb-max-unavailable",
    "pdb-min-available",
    "pdb-unhealthy-pod-eviction-policy",
];

/// Enabled by default in kube-linter (its generated list of checks).
const DEFAULTS: [&str; 31] = [
    "dangling-service",
    "deprecated-service-account-field",
    "docker-sock",
    "drop-net-raw-capability",
    "duplicate-env-var",
    "env-var-secret",
    "host-ipc",
    "host-network",
    "host-pid",
    "invalid-target-ports",
    "job-ttl-seconds-after-finished",
    "latest-tag",
    "liveness-port",
    "mismatching-selector",
    "no-anti-affinity",
    "no-extensions-v1beta",
    "no-read-only-root-fs",
    "non-existent-service-account",
    "pdb-max-unavailable",
    "pdb-min-available",
    "pdb-unhealthy-pod-eviction-policy",
    "privilege-escalation-container",
    "privileged-container",
    "readiness-port",
    "run-as-non-root",
    "sensitive-host-mounts",
    "ssh-port",
    "startup-port",
    "unsafe-sysctls",
    "unset-cpu-requirements",
    "unset-memory-requirements",
];

/// Rule, pod or container, and why it may be broken there.
const EXCEPTIONS: [(&str, &str, &str); 13] = [
    ("run-as-non-root", "prefetch/prefetch", "the runtime's socket is root's"),
    ("run-as-non-root", "attach/attach", "mounts on the host and writes containerd's snapshots"),
    ("privileged-container", "attach/attach", "AppArmor and SELinux let nobody else mount on the host"),
    ("privilege-escalation-container", "attach/attach", "what is privileged cannot be more"),
    ("drop-net-raw-capability", "attach/attach", "what is privileged has all"),
    ("host-pid", "attach", "finds the host's mount namespace by its first process"),
    ("no-liveness-probe", "prefetch/sleep", "cannot fail but by ending, which the kubelet sees"),
    ("no-liveness-probe", "attach/sleep", "cannot fail but by ending, which the kubelet sees"),
    (
        "no-readiness-probe",
        "prefetch/sleep",
        "ready once the init container has ended well: that is the point",
    ),
    ("no-readiness-probe", "attach/sleep", "ready once the init container has ended well: that is the point"),
    ("run-as-non-root", "agent/agent", "the runtime's socket is root's"),
    ("automounted-token", "agent", "it watches and writes its node's set"),
    ("automounted-token", "controller", "the API is all that it works on"),
];

#[test]
fn every_manifest_keeps_the_rules_but_for_the_exceptions_that_say_why() {
    let mut needed = BTreeSet::new();
    for (line, objects) in all().chain(installed()) {
        for (rule, broken) in RULES {
            for place in broken(&objects) {
                let exception = EXCEPTIONS.iter().find(|(name, at, _)| *name == rule && *at == place);
                let (name, at, _) = exception.unwrap_or_else(|| panic!("{line}: {place} breaks {rule}"));
                needed.insert((*name, *at));
            }
        }
    }
    let stale: Vec<_> = EXCEPTIONS.iter().filter(|(name, at, _)| !needed.contains(&(name, at))).collect();
    assert!(stale.is_empty(), "exceptions that nothing needs: {stale:?}");
}

#[test]
fn every_default_of_the_linter_is_a_rule_here() {
    let rules: BTreeSet<&str> = RULES.iter().map(|(name, _)| *name).chain(NO_SUCH_KIND).collect();
    let missing: Vec<_> = DEFAULTS.iter().filter(|name| !rules.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What breaks a rule in an otherwise good pod.
type Damage = fn(&mut PodSpec);

#[test]
fn every_rule_about_pods_finds_what_breaks_it() {
    let table: [(&str, Damage); 27] = [
        ("deprecated-service-account-field", |pod| pod.service_account = Some("x".to_owned())),
        ("docker-sock", |pod| mount(pod, "/var/run/docker.sock")),
        ("drop-net-raw-capability", |pod| secure(pod, |context| context.capabilities = None)),
        ("duplicate-env-var", |pod| [1, 2].iter().for_each(|_| variable(pod, "A"))),
        ("env-var-secret", |pod| variable(pod, "MY_SECRET")),
        ("host-ipc", |pod| pod.host_ipc = Some(true)),
        ("host-network", |pod| pod.host_network = Some(true)),
        ("host-pid", |pod| pod.host_pid = Some(true)),
        ("invalid-target-ports", |pod| {
            change(pod, |c| c.ports.as_mut().unwrap()[0].name = Some("-".to_owned()));
        }),
        ("latest-tag", |pod| change(pod, |c| c.image = Some("a.io:5000/b".to_owned()))),
        ("latest-tag", |pod| change(pod, |c| c.image = Some("a.io/b:latest".to_owned()))),
        ("liveness-port", |pod| change(pod, |c| c.ports = None)),
        ("readiness-port", |pod| change(pod, |c| c.ports = None)),
        ("startup-port", |pod| {
            change(pod, |c| (c.startup_probe, c.ports) = (c.liveness_probe.clone(), None));
        }),
        ("no-read-only-root-fs", |pod| secure(pod, |context| context.read_only_root_filesystem = None)),
        ("non-existent-service-account", |pod| pod.service_account_name = Some("other".to_owned())),
        ("privilege-escalation-container", |pod| {
            secure(pod, |context| context.allow_privilege_escalation = None);
        }),
        ("privileged-container", |pod| secure(pod, |context| context.privileged = Some(true))),
        ("run-as-non-root", |pod| pod.security_context.as_mut().unwrap().run_as_non_root = None),
        ("sensitive-host-mounts", |pod| mount(pod, "/etc")),
        ("ssh-port", |pod| change(pod, |c| c.ports.as_mut().unwrap()[0].container_port = 22)),
        ("unsafe-sysctls", |pod| pod.security_context.as_mut().unwrap().sysctls = Some(Vec::new())),
        ("unset-cpu-requirements", |pod| change(pod, |c| c.resources = None)),
        ("unset-memory-requirements", |pod| change(pod, |c| c.resources = None)),
        ("writable-host-mount", |pod| mount(pod, "/opt")),
        ("seccomp", |pod| pod.security_context = None),
        ("automounted-token", |pod| pod.automount_service_account_token = None),
    ];
    for (rule, damage) in table {
        let mut damaged = objects("prefetcher x --collect-metrics");
        assert_eq!(
            broken(rule, &damaged).iter().filter(|place| place.starts_with("metrics")).count(),
            0,
            "{rule}"
        );
        for object in &mut damaged {
            if let Object::Deployment(deployment) = object {
                damage(deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap());
            }
        }
        let found = broken(rule, &damaged);
        assert!(found.iter().any(|place| place.starts_with("metrics")), "{rule}: {found:?}");
    }
}

/// What breaks a rule in one of otherwise good objects.
type ObjectDamage = fn(&mut Object);

#[test]
fn every_rule_about_objects_finds_what_breaks_it() {
    let table: [(&str, ObjectDamage); 5] = [
        ("dangling-service", |object| {
            if let Object::Service(service) = object {
                service.metadata.namespace = Some("elsewhere".to_owned());
            }
        }),
        ("mismatching-selector", |object| {
            if let Object::DaemonSet(set) = object {
                set.spec.as_mut().unwrap().template.metadata.as_mut().unwrap().labels = None;
            }
        }),
        ("no-anti-affinity", |object| {
            if let Object::Deployment(deployment) = object {
                deployment.spec.as_mut().unwrap().replicas = Some(2);
            }
        }),
        ("non-existent-service-account", |object| {
            if let Object::ServiceAccount(account) = object {
                account.metadata.name = Some("other".to_owned());
            }
        }),
        ("invalid-target-ports", |object| {
            if let Object::Service(service) = object {
                service.spec.as_mut().unwrap().ports.as_mut().unwrap()[0].target_port =
                    Some(IntOrString::Int(0));
            }
        }),
    ];
    for (rule, damage) in table {
        let mut damaged = objects("prefetcher x --collect-metrics");
        assert_eq!(broken(rule, &damaged), Vec::<String>::new(), "{rule}");
        damaged.iter_mut().for_each(damage);
        assert_ne!(broken(rule, &damaged), Vec::<String>::new(), "{rule}");
    }
}

fn broken(rule: &str, objects: &[Object]) -> Vec<String> {
    let (_, broken) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
    broken(objects)
}

fn change(pod: &mut PodSpec, change: fn(&mut Container)) {
    pod.containers.iter_mut().for_each(change);
}

fn secure(pod: &mut PodSpec, change: fn(&mut SecurityContext)) {
    pod.containers.iter_mut().for_each(|container| change(container.security_context.as_mut().unwrap()));
}

fn variable(pod: &mut PodSpec, name: &str) {
    let variable = EnvVar { name: name.to_owned(), value: Some("x".to_owned()), value_from: None };
    pod.containers[0].env.get_or_insert_default().push(variable);
}

fn mount(pod: &mut PodSpec, path: &str) {
    let host_path = HostPathVolumeSource { path: path.to_owned(), type_: None };
    let volume = Volume { name: "damage".to_owned(), host_path: Some(host_path), ..Volume::default() };
    pod.volumes.get_or_insert_default().push(volume);
    let mount =
        VolumeMount { name: "damage".to_owned(), mount_path: "/damage".to_owned(), ..VolumeMount::default() };
    pod.containers[0].volume_mounts.get_or_insert_default().push(mount);
}
