//! Containers of the runtime: the images that they use, and removing those that have ended.

use std::collections::BTreeSet;

use larder_proto::cri::runtime_service_client::RuntimeServiceClient;
use larder_proto::cri::{
    Container, ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxState,
    RemoveContainerRequest, RemovePodSandboxRequest,
};
use tonic::transport::Channel;

use super::Cri;
use super::images::MAX_MESSAGE;
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

    /// What the containers that there are, also those that have ended, call their images: names, digests and ids.
    pub(crate) async fn used_images(&self) -> Result<BTreeSet<String>, ContainerdError> {
        let used = self.containers().await?.into_iter();
        let names =
            used.flat_map(|one| one.image.map(|image| image.image).into_iter().chain([one.image_ref]));
        Ok(names.filter(|name| !name.is_empty()).collect())
    }

    async fn containers(&self) -> Result<Vec<Container>, ContainerdError> {
        let action = "list CRI's containers".to_owned();
        let request = ListContainersRequest { filter: None };
        let mut runtime = self.runtime().max_decoding_message_size(MAX_MESSAGE);
        Ok(call(action, runtime.list_containers(request)).await?.containers)
    }

    async fn dead_containers(&self) -> Result<BTreeSet<String>, ContainerdError> {
        let dead =
            self.containers().await?.into_iter().filter(|one| one.state() == ContainerState::ContainerExited);
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
