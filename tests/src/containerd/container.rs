//! Pods of one container each, on the host's network so that no network plugin is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use larder_proto::cri::runtime_service_client::RuntimeServiceClient;
use larder_proto::cri::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, LinuxContainerConfig, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest,
    StopPodSandboxRequest,
};
use tonic::transport::Channel;

use super::Containerd;
use super::cri::{Cri, spec};
use super::user_namespace;
use crate::blocking::wait;
use crate::process::until;

/// What a container of a test may take to finish.
const FINISH: Duration = Duration::from_mins(1);
/// What a command in a container may take, seconds.
const EXEC_SECONDS: i64 = 60;

/// A container that was started; its pod goes with it on drop.
#[derive(Debug)]
pub struct Container {
    pod: Pod,
    id: String,
    log: PathBuf,
}

/// What a program left when it had finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status.
    pub exit_code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A sandbox that is removed on drop, also when its container could not be made.
#[derive(Debug)]
struct Pod {
    runtime: RuntimeServiceClient<Channel>,
    id: String,
    config: PodSandboxConfig,
}

impl Containerd {
    /// Starts a container of the image `name` that runs `argv`, or the image's own command where it is empty.
    pub fn start_container(&self, name: &str, argv: &[&str]) -> Result<Container> {
        wait(start(&self.cri, name, argv, host_network()))
            .with_context(|| format!("start a container of {name}"))
    }

    /// The same in a pod whose users are mapped, as `hostUsers: false` asks for.
    pub fn start_container_with_mapped_users(&self, name: &str, argv: &[&str]) -> Result<Container> {
        wait(start(&self.cri, name, argv, user_namespace::options()))
            .with_context(|| format!("start a container of {name} in a user namespace"))
    }

    /// Runs a container to its end, and removes it.
    pub fn run(&self, name: &str, argv: &[&str]) -> Result<Finished> {
        self.start_container(name, argv)?.finish()
    }
}

impl Container {
    /// CRI's id of the container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it runs now.
    pub fn is_running(&self) -> Result<bool> {
        Ok(self.status()?.state() == ContainerState::ContainerRunning)
    }

    /// Runs a further program in it.
    pub fn exec(&self, argv: &[&str]) -> Result<Finished> {
        let request =
            ExecSyncRequest { container_id: self.id.clone(), cmd: owned(argv), timeout: EXEC_SECONDS };
        let mut runtime = self.pod.runtime.clone();
        let answer = wait(runtime.exec_sync(request)).with_context(|| format!("exec {}", argv.join(" ")))?;
        let answer = answer.into_inner();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Finished { exit_code: answer.exit_code, stdout: text(answer.stdout), stderr: text(answer.stderr) })
    }

    /// Waits for its end, and removes it.
    pub fn finish(self) -> Result<Finished> {
        let exited = || {
            let status = self.status()?;
            ensure!(status.state() == ContainerState::ContainerExited, "it still runs");
            Ok(status)
        };
        let status = until(&format!("end of container {}", self.id), FINISH, exited)?;
        let log = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        let log = String::from_utf8_lossy(&log);
        Ok(Finished {
            exit_code: status.exit_code,
            stdout: stream(&log, "stdout"),
            stderr: stream(&log, "stderr"),
        })
    }

    fn status(&self) -> Result<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: self.id.clone(), verbose: false };
        let answer = wait(self.pod.runtime.clone().container_status(request))?;
        answer.into_inner().status.with_context(|| format!("container {} has no status", self.id))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let (runtime, pod_sandbox_id) = (&mut self.runtime, &self.id);
        // A containerd that is gone has taken its pods along.
        let _ = wait(async {
            let stop = StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
            runtime.stop_pod_sandbox(stop).await?;
            let remove = RemovePodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
            runtime.remove_pod_sandbox(remove).await
        });
    }
}

async fn start(cri: &Cri, name: &str, argv: &[&str], namespaces: NamespaceOption) -> Result<Container> {
    let pod = run_pod(cri, namespaces.clone()).await?;
    let log_path = "container.log".to_owned();
    let log = Path::new(&pod.config.log_directory).join(&log_path);
    // CRI wants the pod's namespaces said again.
    let security = LinuxContainerSecurityContext {
        namespace_options: Some(namespaces),
        ..LinuxContainerSecurityContext::default()
    };
    let config = ContainerConfig {
        metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(spec(name)),
        command: owned(argv),
        log_path,
        linux: Some(LinuxContainerConfig { resources: None, security_context: Some(security) }),
        ..ContainerConfig::default()
    };
    let create = CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: Some(config),
        sandbox_config: Some(pod.config.clone()),
    };
    let mut runtime = pod.runtime.clone();
    let id = runtime.create_container(create).await?.into_inner().container_id;
    runtime.start_container(StartContainerRequest { container_id: id.clone() }).await?;
    Ok(Container { pod, id, log })
}

async fn run_pod(cri: &Cri, namespaces: NamespaceOption) -> Result<Pod> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("pod-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let config = pod_config(cri, name, namespaces);
    fs::create_dir_all(&config.log_directory)?;
    let mut runtime = RuntimeServiceClient::new(cri.channel.clone());
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    let id = runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    Ok(Pod { runtime, id, config })
}

fn host_network() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
        ..NamespaceOption::default()
    }
}

fn pod_config(cri: &Cri, name: String, namespaces: NamespaceOption) -> PodSandboxConfig {
    let security = LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces),
        ..LinuxSandboxSecurityContext::default()
    };
    let linux = LinuxPodSandboxConfig {
        cgroup_parent: cri.group.clone(),
        security_context: Some(security),
        ..LinuxPodSandboxConfig::default()
    };
    PodSandboxConfig {
        log_directory: cri.logs.join(&name).to_string_lossy().into_owned(),
        metadata: Some(PodSandboxMetadata {
            uid: name.clone(),
            name,
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        linux: Some(linux),
        ..PodSandboxConfig::default()
    }
}

fn owned(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|&word| word.to_owned()).collect()
}

/// CRI's log format: `TIME STREAM P|F TEXT`, where P says that the line goes on in the next one.
fn stream(log: &str, stream: &str) -> String {
    let mut text = String::new();
    for line in log.lines() {
        let mut parts = line.splitn(4, ' ').skip(1);
        if parts.next() == Some(stream) {
            let whole = parts.next() == Some("F");
            text.push_str(parts.next().unwrap_or_default());
            text.push_str(if whole { "\n" } else { "" });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_taken_apart_by_streams() {
        let log = "t stdout F one two\nt stderr F bad\nt stdout P thr\nt stdout F ee\nt stdout F \n";
        assert_eq!(stream(log, "stdout"), "one two\nthree\n\n");
        assert_eq!(stream(log, "stderr"), "bad\n");
    }
}
