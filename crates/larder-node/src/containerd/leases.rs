//! Leases: what is made or named under one is safe from containerd's garbage collection.

use std::collections::HashMap;
use std::time::SystemTime;

use larder_core::{ChainId, Digest};
use larder_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use larder_proto::containerd::services::leases::v1::{
    AddResourceRequest, CreateRequest, DeleteRequest, ListRequest, Resource,
};
use larder_proto::well_known::Timestamp;
use tonic::metadata::{Ascii, MetadataValue};

use super::call::call_and_collect;
use super::{Containerd, ContainerdError, SNAPSHOTTER, call, none_if_absent};
use crate::labels;

/// A lease that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: String,
    pub(super) header: MetadataValue<Ascii>,
}

impl Containerd {
    fn leases(&self) -> LeasesClient<tonic::transport::Channel> {
        LeasesClient::new(self.channel())
    }

    /// Takes a lease that containerd drops by itself at `expires`; `owner` is how a later run knows it again.
    pub(crate) async fn create_lease(
        &self,
        owner: &str,
        expires: SystemTime,
    ) -> Result<Lease, ContainerdError> {
        let action = "take a lease";
        let labels = HashMap::from([
            (labels::GC_EXPIRE.to_owned(), Timestamp::from(expires).to_string()),
            (labels::OWNER.to_owned(), owner.to_owned()),
        ]);
        let request = self.request(CreateRequest { id: String::new(), labels });
        let incomplete = |what| ContainerdError::Incomplete { action: action.to_owned(), what };
        let answer = call(action.to_owned(), self.leases().create(request)).await?;
        let id = answer.lease.ok_or_else(|| incomplete("the lease"))?.id;
        let header = id.parse().map_err(|_| incomplete("an ID in ASCII"))?;
        Ok(Lease { id, header })
    }

    /// Drops leases that an earlier run of `owner` left behind, with the half-made snapshots that they hold.
    pub(crate) async fn drop_leases_of(&self, owner: &str) -> Result<(), ContainerdError> {
        let request = self.request(ListRequest { filters: vec![] });
        let leases = call("list leases".to_owned(), self.leases().list(request)).await?.leases;
        let stale = leases
            .into_iter()
            .filter(|lease| lease.labels.get(labels::OWNER).is_some_and(|value| value == owner));
        for lease in stale {
            tracing::info!(lease = lease.id, "dropping a lease that an interrupted run left");
            self.drop_lease(&lease.id).await?;
        }
        Ok(())
    }

    /// Drops a lease and waits for the garbage collection; one that has expired is fine.
    pub(crate) async fn drop_lease(&self, id: &str) -> Result<(), ContainerdError> {
        self.delete_lease(id, true).await
    }

    /// Drops a lease under which nothing became garbage: a collection takes the longer the more there is on the node.
    pub(crate) async fn drop_clean_lease(&self, id: &str) -> Result<(), ContainerdError> {
        self.delete_lease(id, false).await
    }

    async fn delete_lease(&self, id: &str, sync: bool) -> Result<(), ContainerdError> {
        let request = self.request(DeleteRequest { id: id.to_owned(), sync });
        let dropped = call_and_collect(format!("drop lease {id}"), self.leases().delete(request)).await;
        none_if_absent(dropped).map(|_| ())
    }

    /// Holds a layer, and so those below it, for as long as the lease lives.
    pub(crate) async fn hold_snapshot(
        &self,
        lease: &Lease,
        chain_id: ChainId,
    ) -> Result<(), ContainerdError> {
        self.hold(lease, format!("snapshots/{SNAPSHOTTER}"), chain_id.to_string()).await
    }

    /// Holds a blob for as long as the lease lives.
    pub(crate) async fn hold_content(&self, lease: &Lease, digest: Digest) -> Result<(), ContainerdError> {
        self.hold(lease, "content".to_owned(), digest.to_string()).await
    }

    async fn hold(&self, lease: &Lease, r#type: String, id: String) -> Result<(), ContainerdError> {
        let action = format!("hold {id} by lease {}", lease.id);
        let request = AddResourceRequest { id: lease.id.clone(), resource: Some(Resource { id, r#type }) };
        call(action, self.leases().add_resource(self.request(request))).await
    }
}
