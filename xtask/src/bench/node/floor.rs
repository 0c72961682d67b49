//! The floor under an attach: the bare calls by which containerd makes empty layers, one after another. Nothing is linked, and
//! no content or image is written.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use larder_core::ChainId;
use larder_proto::containerd::services::leases::v1::CreateRequest;
use larder_proto::containerd::services::leases::v1::leases_client::LeasesClient;
use larder_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use larder_proto::containerd::services::snapshots::v1::{CommitSnapshotRequest, PrepareSnapshotRequest};
use larder_tests::blocking::wait;
use larder_tests::containerd::{Containerd, NAMESPACE};
use tonic::Request;
use tonic::transport::Channel;

use crate::bench::measure::seconds;

const SNAPSHOTTER: &str = "overlayfs";

/// Seconds that it takes to make every layer of `chains`, each layer once.
pub(super) fn measure(containerd: &Containerd, chains: &[Vec<ChainId>]) -> Result<f64> {
    let channel = containerd.channel();
    let lease = wait(lease(channel.clone()))?;
    let (took, ()) = seconds(|| wait(make(channel, &lease, chains)))?;
    Ok(took)
}

async fn lease(channel: Channel) -> Result<String> {
    let request = with_headers(CreateRequest::default(), None)?;
    let lease = LeasesClient::new(channel).create(request).await?.into_inner().lease;
    Ok(lease.context("a lease")?.id)
}

async fn make(channel: Channel, lease: &str, chains: &[Vec<ChainId>]) -> Result<()> {
    let mut made = HashSet::new();
    for chain in chains {
        let mut parent = String::new();
        for layer in chain {
            if made.insert(*layer) {
                commit(channel.clone(), lease, &parent, layer).await?;
            }
            parent = layer.to_string();
        }
    }
    Ok(())
}

async fn commit(channel: Channel, lease: &str, parent: &str, layer: &ChainId) -> Result<()> {
    let mut snapshots = SnapshotsClient::new(channel);
    let (snapshotter, key, name) = (SNAPSHOTTER.to_owned(), format!("bare {layer}"), layer.to_string());
    let (parent, labels) = (parent.to_owned(), HashMap::new());
    let prepare =
        PrepareSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), parent, labels };
    snapshots.prepare(with_headers(prepare, Some(lease))?).await?;
    let commit = CommitSnapshotRequest { snapshotter, name, key, labels: HashMap::new() };
    snapshots.commit(with_headers(commit, Some(lease))?).await?;
    Ok(())
}

fn with_headers<T>(message: T, lease: Option<&str>) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", NAMESPACE.parse()?);
    if let Some(lease) = lease {
        request.metadata_mut().insert("containerd-lease", lease.parse()?);
    }
    Ok(request)
}
