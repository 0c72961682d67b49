//! What the node has, as far as a detach must know it.

use larder_core::Digest;

use super::chains::{Chain, ChainReader};
use crate::containerd::{Container, Containerd, ContainerdError, ImageRecord, Snapshot};
use crate::labels;

/// An image record and the layers that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenImage {
    pub(super) record: ImageRecord,
    pub(super) chains: Vec<Chain>,
}

impl SeenImage {
    /// The disk that it was attached from; none for other people's.
    pub(super) fn disk(&self) -> Option<Digest> {
        self.record.labels.get(labels::DISK)?.parse().ok()
    }

    /// Whether it is the record that CRI keeps for the image's id, beside its names.
    pub(super) fn is_id(&self) -> bool {
        self.chains.iter().any(|chain| chain.config.to_string() == self.record.name)
    }

    /// Whether it is of an image with this configuration.
    pub(super) fn has_config(&self, config: Digest) -> bool {
        self.chains.iter().any(|chain| chain.config == config)
    }

    /// The chain IDs of all layers.
    pub(super) fn layers(&self) -> impl Iterator<Item = String> {
        self.chains.iter().flat_map(|chain| &chain.layers).map(ToString::to_string)
    }

    /// The chain IDs of whole images.
    pub(super) fn tops(&self) -> impl Iterator<Item = String> {
        self.chains.iter().filter_map(|chain| chain.layers.last()).map(ToString::to_string)
    }
}

/// Everything that may use a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) images: Vec<SeenImage>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) containers: Vec<Container>,
}

/// Looks at the namespace. Without an image or a link of ours there is nothing to decide, and the content is not read.
pub(super) async fn look(runtime: &Containerd) -> Result<Seen, ContainerdError> {
    let records = runtime.list_images().await?;
    let snapshots = runtime.list_snapshots().await?;
    let mut labels = records.iter().map(|r| &r.labels).chain(snapshots.iter().map(|s| &s.labels));
    if !labels.any(|labels| labels.contains_key(labels::DISK)) {
        return Ok(Seen::default());
    }
    let containers = runtime.list_containers().await?;
    let mut reader = ChainReader::new(runtime);
    let mut images = Vec::with_capacity(records.len());
    for record in records {
        let chains = match record.target.parse() {
            Ok(target) => reader.read(target).await?,
            Err(_) => Vec::new(),
        };
        images.push(SeenImage { record, chains });
    }
    Ok(Seen { images, snapshots, containers })
}
