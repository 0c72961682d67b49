//! What the node has, as far as a detach must know it.

use larder_core::Digest;

pub(crate) use super::chains::Chain;
use super::chains::ChainReader;
use crate::containerd::{Container, Containerd, ContainerdError, ImageRecord, Snapshot};
use crate::labels;

/// An image record and the layers that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenImage {
    pub(crate) record: ImageRecord,
    pub(crate) chains: Vec<Chain>,
}

impl SeenImage {
    /// The disk that it was attached from; none for other people's.
    pub(crate) fn disk(&self) -> Option<Digest> {
        self.record.labels.get(labels::DISK)?.parse().ok()
    }

    /// Whether it is the record that CRI keeps for the image's id, beside its names.
    pub(crate) fn is_id(&self) -> bool {
        self.chains.iter().any(|chain| chain.config.to_string() == self.record.name)
    }

    /// Whether it is of an image with this configuration.
    pub(crate) fn has_config(&self, config: Digest) -> bool {
        self.chains.iter().any(|chain| chain.config == config)
    }

    /// The chain IDs of all layers.
    pub(crate) fn layers(&self) -> impl Iterator<Item = String> {
        self.chains.iter().flat_map(|chain| &chain.layers).map(ToString::to_string)
    }

    /// The chain IDs of whole images.
    pub(crate) fn tops(&self) -> impl Iterator<Item = String> {
        self.chains.iter().filter_map(|chain| chain.layers.last()).map(ToString::to_string)
    }
}

/// Everything that may use a layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) images: Vec<SeenImage>,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) containers: Vec<Container>,
}

/// Looks at the namespace. Without an image or a link of ours there is nothing to decide, and the content is not read.
pub(crate) async fn look(runtime: &Containerd) -> Result<Seen, ContainerdError> {
    let records = runtime.list_images().await?;
    let snapshots = runtime.list_snapshots().await?;
    let mut labels = records.iter().map(|r| &r.labels).chain(snapshots.iter().map(|s| &s.labels));
    if !labels.any(|labels| labels.contains_key(labels::DISK)) {
        return Ok(Seen::default());
    }
    let containers = runtime.list_containers().await?;
    Ok(Seen { images: with_layers(runtime, records).await?, snapshots, containers })
}

/// The records with the layers that the content store tells of.
pub(crate) async fn with_layers(
    runtime: &Containerd,
    records: Vec<ImageRecord>,
) -> Result<Vec<SeenImage>, ContainerdError> {
    let mut reader = ChainReader::new(runtime);
    let mut images = Vec::with_capacity(records.len());
    for record in records {
        let chains = match record.target.parse() {
            Ok(target) => reader.read(target).await?,
            Err(_) => Vec::new(),
        };
        images.push(SeenImage { record, chains });
    }
    Ok(images)
}
