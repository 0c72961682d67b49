//! Tells how far pulls are, where there is a containerd to ask; what it does not say changes no pull.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use larder_core::{Blob, Digest, ImageRef, Manifest, media_type};
use tokio::time::sleep;

use super::list::Wanted;
use super::progress::Layers;
use super::report::{Event, Reporter};
use crate::containerd::{Containerd, ContainerdError};

/// Between two looks: often enough for people, and nothing to a node.
const PERIOD: Duration = Duration::from_secs(1);

/// The pulls that are looked at.
#[derive(Debug)]
pub(super) struct Watch {
    containerd: Option<Containerd>,
    pulls: RefCell<BTreeMap<String, Pull>>,
}

#[derive(Clone, Debug)]
struct Pull {
    reference: ImageRef,
    layers: Option<Layers>,
}

/// A pull that is looked at until this is dropped.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    watch: &'a Watch,
    name: &'a str,
}

impl Watch {
    /// Without a containerd there is nothing to see.
    pub(super) fn new(containerd: Option<Containerd>) -> Self {
        Self { containerd, pulls: RefCell::default() }
    }

    pub(super) fn begin<'a>(&'a self, wanted: &'a Wanted) -> Watched<'a> {
        let pull = Pull { reference: wanted.reference.clone(), layers: None };
        self.pulls.borrow_mut().insert(wanted.name.clone(), pull);
        Watched { watch: self, name: &wanted.name }
    }

    /// Looks until it is dropped.
    pub(super) async fn run(&self, reporter: &dyn Reporter) {
        let Some(containerd) = &self.containerd else { return std::future::pending().await };
        loop {
            sleep(PERIOD).await;
            if let Err(error) = self.look(containerd, reporter).await {
                tracing::debug!(%error, "containerd does not tell how far pulls are");
            }
        }
    }

    async fn look(&self, containerd: &Containerd, reporter: &dyn Reporter) -> Result<(), ContainerdError> {
        let ingests = containerd.ingests().await?;
        let unknown: Vec<(String, ImageRef)> = {
            let pulls = self.pulls.borrow();
            let unknown = pulls.iter().filter(|(_, pull)| pull.layers.is_none());
            unknown.map(|(name, pull)| (name.clone(), pull.reference.clone())).collect()
        };
        for (name, reference) in unknown.iter().filter(|_| !ingests.is_empty()) {
            let layers = find(containerd, reference, &ingests).await?;
            if let Some(pull) = self.pulls.borrow_mut().get_mut(name) {
                pull.layers = layers;
            }
        }
        for (image, pull) in self.pulls.borrow_mut().iter_mut() {
            if let Some((done, total)) = pull.layers.as_mut().map(|layers| layers.tally(&ingests)) {
                reporter.event(Event::Progress { image, done, total });
            }
        }
        Ok(())
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watch.pulls.borrow_mut().remove(self.name);
    }
}

/// The layers of the image of this repository that is being written.
async fn find(
    containerd: &Containerd,
    reference: &ImageRef,
    ingests: &HashMap<Digest, u64>,
) -> Result<Option<Layers>, ContainerdError> {
    for digest in containerd.small_blobs_of(reference.registry(), reference.repository()).await? {
        let Some(bytes) = containerd.read_content(digest).await? else { continue };
        let Some(layers) = layers_of(bytes.to_vec()) else { continue };
        if !Layers::new(layers.clone(), []).are_among(ingests) {
            continue;
        }
        let mut complete = Vec::new();
        for (digest, _) in layers.iter().filter(|(digest, _)| !ingests.contains_key(digest)) {
            if containerd.content_labels(*digest).await?.is_some() {
                complete.push(*digest);
            }
        }
        return Ok(Some(Layers::new(layers, complete)));
    }
    Ok(None)
}

/// None where the bytes are no manifest, but a configuration or an index.
fn layers_of(bytes: Vec<u8>) -> Option<Vec<(Digest, u64)>> {
    let manifest = Manifest::parse(&Blob::new(media_type::OCI_MANIFEST, bytes)).ok()?;
    Some(manifest.layers.iter().map(|layer| (layer.descriptor.digest, layer.descriptor.size)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_those_of_a_manifest_and_of_nothing_else() {
        let digest = Digest::of(b"x");
        let descriptor = |kind, size| serde_json::json!({"mediaType": kind, "digest": digest, "size": size});
        let manifest = serde_json::json!({"schemaVersion": 2, "config": descriptor(media_type::OCI_CONFIG, 1), "layers": [descriptor(media_type::OCI_LAYER, 7)]});
        assert_eq!(layers_of(manifest.to_string().into()), Some(vec![(digest, 7)]));
        for other in ["{}", "", "{\"schemaVersion\":2,\"manifests\":[]}", "{\"rootfs\":{}}"] {
            assert_eq!(layers_of(other.into()), None, "{other}");
        }
    }
}
