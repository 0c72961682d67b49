//! Removing containers that have ended, through the runtime that knows them.

use std::collections::BTreeSet;

use larder_proto::cri::runtime_service_client::RuntimeServiceClient;
use larder_proto::cri::{
    ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxState, RemoveContainerRequest,
    RemovePodSandboxRequest,
};
use tonic::transport::Channel;

use super::Cri;
use crate::containerd::{ContainerdError, call};

impl Cri {
    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// Removes those of `ids` that are containers or sandboxes and have ended, and leaves the others.
    pub(crate) async fn remove_dead(&self, ids: &BTreeSet<String>) -> Result<(), ContainerdError> {
        for container_id in self.dead_containers().await?.intersection(ids) {
            let request = RemoveContainerRequest { container_id: container_id.clone() };
            let action = format!("remove container {container_id}");
            call(action, self.runtime().remove_container(request)).await?;
        }
        for pod_sandbox_id in self.dead_sandboxes().await?.intersection(ids) {
            let request = RemovePodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
            let action = format!("remove pod sandbox {pod_sandbox_id}");
            call(action, self.runtime().remove_pod_sandbox(request)).await?;
        }
        Ok(())
    }

    async fn dead_containers(&self) -> Result<BTreeSet<String>, ContainerdError> {
        let action = "list CRI's containers".to_owned();
        let request = ListContainersRequest { filter: None };
        let containers = call(action, self.runtime().list_containers(request)).await?.containers;
        let dead = containers.into_iter().filter(|one| one.state() == ContainerState::ContainerExited);
        Ok(dead.map(|container| container.id).collect())
    }

    async fn dead_sandboxes(&self) -> Result<BTreeSet<String>, ContainerdError> {
        let action = "list CRI's pod sandboxes".to_owned();
        let request = ListPodSandboxRequest { filter: None };
        let sandboxes = call(action, self.runtime().list_pod_sandbox(request)).await?.items;
        let dead = sandboxes.into_iter().filter(|one| one.state() == PodSandboxState::SandboxNotready);
        Ok(dead.map(|sandbox| sandbox.id).collect())
    }
}
