//! Which layers are laid out, each once, however many images have it.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::{ChainId, Image, Layer};

use super::BuildError;

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
            by_name.insert(name, image);
            unique.push(image.clone());
            for layer in image.layers.iter().filter(|layer| seen.insert(layer.chain_id)) {
                parents.extend(layer.parent.map(|parent| (layer.chain_id, parent)));
                layers.push(Planned { layer, image });
            }
        }
        Ok(Self { images: unique, layers, parents })
    }

    /// The layers below `layer`, nearest first.
    pub(super) fn below(&self, layer: &Layer) -> Vec<ChainId> {
        std::iter::successors(layer.parent, |chain_id| self.parents.get(chain_id).copied()).collect()
    }
}
