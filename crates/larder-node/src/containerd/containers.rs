//! Container records, for the snapshots that they run on.

use larder_proto::containerd::services::containers::v1::ListContainersRequest;
use larder_proto::containerd::services::containers::v1::containers_client::ContainersClient;

use super::{Containerd, ContainerdError, MAX_MESSAGE, SNAPSHOTTER, call};

/// A container on an overlayfs snapshot, running or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// `namespace/pod/container`, where Kubernetes made it.
    pub(crate) pod: Option<String>,
    pub(crate) snapshot: String,
}

impl Containerd {
    /// Every container of the namespace on an overlayfs snapshot.
    pub(crate) async fn list_containers(&self) -> Result<Vec<Container>, ContainerdError> {
        let mut client = ContainersClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let request = self.request(ListContainersRequest { filters: vec![] });
        let containers = call("list containers".to_owned(), client.list(request)).await?.containers;
        let on_overlayfs = containers.into_iter().filter(|container| container.snapshotter == SNAPSHOTTER);
        Ok(on_overlayfs
            .map(|container| {
                let label = |name: &str| container.labels.get(&format!("io.kubernetes.{name}")).cloned();
                let parts: Vec<_> =
                    ["pod.namespace", "pod.name", "container.name"].into_iter().filter_map(label).collect();
                let pod = Some(parts.join("/")).filter(|pod| !pod.is_empty());
                Container { id: container.id, pod, snapshot: container.snapshot_key }
            })
            .collect())
    }
}
