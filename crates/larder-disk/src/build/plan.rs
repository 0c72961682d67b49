//! Which layers are laid out, each once, however many images have it.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::{ChainId, Digest, Image, Layer};
use serde::Serialize;

use super::{BuildError, MAX_LAYERS};

/// A layer, and the first image that has it.
pub(super) struct Planned<'a> {
    pub(super) layer: &'a Layer,
    pub(super) image: &'a Image,
}

/// The images without repetitions, and their layers: those below come before those above.
pub(super) struct Plan<'a> {
    pub(super) images: Vec<Image>,
    pub(super) layers: Vec<Planned<'a>>,
    parents: BTreeMap<ChainId, ChainId>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(images: &'a [Image]) -> Result<Self, BuildError> {
        if images.is_empty() {
            return Err(BuildError::NoImages);
        }
        let mut by_name: BTreeMap<String, &Image> = BTreeMap::new();
        let (mut unique, mut layers, mut seen, mut parents) =
            (vec![], vec![], BTreeSet::new(), BTreeMap::new());
        for image in images {
            let name = image.reference.to_string();
            let (new, first) = (image.manifest.descriptor.digest, by_name.get(&name));
            match first.map(|first| first.manifest.descriptor.digest) {
                Some(first) if first == new => continue,
                Some(first) => return Err(BuildError::Conflict { image: name, first, second: new }),
                None => {}
            }
            let layer_count = image.layers.len();
            if layer_count > MAX_LAYERS {
                return Err(BuildError::TooManyLayers { image: name, layers: layer_count });
            }
            by_name.insert(name, image);
            unique.push(image.clone());
            for layer in image.layers.iter().filter(|layer| seen.insert(layer.chain_id)) {
                parents.extend(layer.parent.map(|parent| (layer.chain_id, parent)));
                layers.push(Planned { layer, image });
            }
        }
        Ok(Self { images: unique, layers, parents })
    }

    /// Bytes of all layers' blobs.
    pub(super) fn blob_bytes(&self) -> u64 {
        let sizes = self.layers.iter().map(|planned| planned.layer.descriptor.size);
        sizes.fold(0, u64::saturating_add)
    }

    /// The layers below `layer`, nearest first.
    pub(super) fn below(&self, layer: &Layer) -> Vec<ChainId> {
        std::iter::successors(layer.parent, |chain_id| self.parents.get(chain_id).copied()).collect()
    }
}

/// What a build would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildPlan {
    /// The layers, each once; those below come before those above.
    pub layers: Vec<PlannedLayer>,
    /// Layers of all images, shared ones counted each time.
    pub layer_uses: usize,
    /// Bytes of all layers' blobs.
    pub blob_bytes: u64,
    /// Bytes of the disk, estimated.
    pub estimated_disk_bytes: u64,
}

/// A layer that would be laid out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLayer {
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// The digest of its blob.
    pub digest: Digest,
    /// Bytes of its blob.
    pub size: u64,
    /// The images that have it.
    pub images: Vec<String>,
}

/// What [`super::build`] would do with `images`, as far as their manifests tell.
pub fn plan(images: &[Image]) -> Result<BuildPlan, BuildError> {
    let plan = Plan::new(images)?;
    let of_layer = |planned: &Planned<'_>| {
        let Layer { chain_id, descriptor, .. } = planned.layer;
        let has_it = |image: &&Image| image.layers.iter().any(|layer| layer.chain_id == *chain_id);
        let images = plan.images.iter().filter(has_it).map(|image| image.reference.to_string()).collect();
        PlannedLayer { chain_id: *chain_id, digest: descriptor.digest, size: descriptor.size, images }
    };
    Ok(BuildPlan {
        layers: plan.layers.iter().map(of_layer).collect(),
        layer_uses: plan.images.iter().map(|image| image.layers.len()).sum(),
        blob_bytes: plan.blob_bytes(),
        estimated_disk_bytes: estimate(plan.blob_bytes()),
    })
}

/// A disk's size from that of the compressed layers: gzip and zstd layers of programs hold 2.7 to 3.2 times their size.
pub(super) fn estimate(blob_bytes: u64) -> u64 {
    blob_bytes.saturating_mul(3)
}
