//! Snapshots of the stock overlayfs snapshotter.

use std::collections::HashMap;

use larder_core::ChainId;
use larder_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use larder_proto::containerd::services::snapshots::v1::{
    CommitSnapshotRequest, Info, Kind, ListSnapshotsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
    StatSnapshotRequest, UpdateSnapshotRequest,
};
use larder_proto::containerd::types::Mount;
use larder_proto::well_known::FieldMask;

use super::call::call_stream;
use super::{Containerd, ContainerdError, call, none_if_absent};

/// The only snapshotter that Larder attaches to.
pub(crate) const SNAPSHOTTER: &str = "overlayfs";

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotKind {
    /// An image's layer.
    Committed,
    /// A container's writable layer, a view, or a layer being unpacked.
    InUse,
}

/// A snapshot as containerd lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// A chain ID for an image's layer; else any key.
    pub(crate) name: String,
    pub(crate) parent: Option<String>,
    pub(crate) kind: SnapshotKind,
    pub(crate) labels: HashMap<String, String>,
}

impl From<Info> for Snapshot {
    fn from(info: Info) -> Self {
        let kind = match info.kind() {
            Kind::Committed => SnapshotKind::Committed,
            Kind::Active | Kind::View | Kind::Unknown => SnapshotKind::InUse,
        };
        let parent = Some(info.parent).filter(|parent| !parent.is_empty());
        Self { name: info.name, parent, kind, labels: info.labels }
    }
}

impl Containerd {
    fn snapshots(&self) -> SnapshotsClient<tonic::transport::Channel> {
        SnapshotsClient::new(self.channel())
    }

    /// Every snapshot of the namespace.
    pub(crate) async fn list_snapshots(&self) -> Result<Vec<Snapshot>, ContainerdError> {
        let request = ListSnapshotsRequest { snapshotter: SNAPSHOTTER.to_owned(), filters: vec![] };
        call_stream("list snapshots".to_owned(), async {
            let mut stream = self.snapshots().list(self.request(request)).await?.into_inner();
            let mut snapshots = Vec::new();
            while let Some(page) = stream.message().await? {
                snapshots.extend(page.info.into_iter().map(Snapshot::from));
            }
            Ok(snapshots)
        })
        .await
    }

    /// Whether a layer is there.
    pub(crate) async fn has_snapshot(&self, chain_id: ChainId) -> Result<bool, ContainerdError> {
        let request = StatSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: chain_id.to_string() };
        let action = format!("look up snapshot {chain_id}");
        let stat = call(action, self.snapshots().stat(self.request(request))).await;
        Ok(none_if_absent(stat)?.is_some())
    }

    /// Creates an empty writable snapshot on `parent`, and says how it would be mounted.
    pub(crate) async fn prepare_snapshot(
        &self,
        key: &str,
        parent: Option<ChainId>,
    ) -> Result<Vec<Mount>, ContainerdError> {
        let request = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.to_owned(),
            parent: parent.map(|parent| parent.to_string()).unwrap_or_default(),
            labels: HashMap::new(),
        };
        let action = format!("prepare snapshot {key:?}");
        Ok(call(action, self.snapshots().prepare(self.request(request))).await?.mounts)
    }

    /// Makes the prepared snapshot the layer `chain_id`.
    pub(crate) async fn commit_snapshot(
        &self,
        key: &str,
        chain_id: ChainId,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let request = CommitSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            name: chain_id.to_string(),
            key: key.to_owned(),
            labels,
        };
        call(format!("commit snapshot {chain_id}"), self.snapshots().commit(self.request(request))).await
    }

    /// Sets labels of a layer and leaves its others; one with an empty value goes. A layer that is gone is fine.
    pub(crate) async fn label_snapshot(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let request = UpdateSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            info: Some(Info { name: name.to_owned(), labels, ..Info::default() }),
            update_mask: Some(FieldMask { paths }),
        };
        let action = format!("label snapshot {name}");
        let labelled = call(action, self.snapshots().update(self.request(request))).await;
        none_if_absent(labelled).map(|_| ())
    }

    /// Removes a snapshot that nothing builds on.
    pub(crate) async fn remove_snapshot(&self, key: &str) -> Result<(), ContainerdError> {
        let request = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: key.to_owned() };
        call(format!("remove snapshot {key:?}"), self.snapshots().remove(self.request(request))).await
    }
}
