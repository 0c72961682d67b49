//! Leases, garbage collection, and where the overlayfs snapshotter keeps a layer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use larder_core::ChainId;
use larder_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use larder_proto::containerd::services::leases::v1::{CreateRequest, DeleteRequest};
use larder_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use larder_proto::containerd::services::snapshots::v1::{RemoveSnapshotRequest, ViewSnapshotRequest};
use larder_proto::containerd::types::Mount;
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::{Containerd, NAMESPACE};
use crate::blocking::wait;

const SNAPSHOTTER: &str = "overlayfs";

impl Containerd {
    /// Collects garbage, and returns when that is done.
    pub fn sync_gc(&self) -> Result<()> {
        wait(async {
            let lease = self.create_lease().await?;
            self.delete_lease(lease, true).await
        })
        .context("collect containerd's garbage")
    }

    /// The directory of the layer with this chain ID: `ROOT/io.containerd.snapshotter.v1.overlayfs/snapshots/N/fs`.
    pub fn layer_directory(&self, chain_id: ChainId) -> Result<PathBuf> {
        let directories = self.layer_directories(chain_id)?;
        directories.into_iter().next_back().context("a snapshot without directories")
    }

    /// The directories of the layer with this chain ID and of all below it, base first.
    pub fn layer_directories(&self, top: ChainId) -> Result<Vec<PathBuf>> {
        let mounts = wait(self.view(top)).with_context(|| format!("view snapshot {top}"))?;
        let mount = mounts.first().context("a snapshot without a mount")?;
        let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir="));
        let top_first = lower.unwrap_or(&mount.source);
        Ok(top_first.split(':').rev().map(PathBuf::from).collect())
    }

    /// Under a lease, since a view that nothing refers to is garbage from the start.
    async fn view(&self, parent: ChainId) -> Result<Vec<Mount>> {
        let lease = self.create_lease().await?;
        let mut snapshots = SnapshotsClient::new(self.channel());
        let mut request = in_namespace(ViewSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: lease.clone(),
            parent: parent.to_string(),
            labels: HashMap::new(),
        });
        request.metadata_mut().insert("containerd-lease", lease.parse::<MetadataValue<_>>()?);
        let viewed = snapshots.view(request).await;
        if viewed.is_ok() {
            let remove = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: lease.clone() };
            snapshots.remove(in_namespace(remove)).await?;
        }
        self.delete_lease(lease, false).await?;
        Ok(viewed?.into_inner().mounts)
    }

    async fn create_lease(&self) -> Result<String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = format!("lab-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let create = CreateRequest { id: id.clone(), labels: HashMap::new() };
        LeasesClient::new(self.channel()).create(in_namespace(create)).await?;
        Ok(id)
    }

    async fn delete_lease(&self, id: String, sync: bool) -> Result<()> {
        LeasesClient::new(self.channel()).delete(in_namespace(DeleteRequest { id, sync })).await?;
        Ok(())
    }
}

fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}
