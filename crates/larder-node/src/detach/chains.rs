//! From what an image record points to, to the layers: index -> manifest -> configuration -> diff IDs -> chain IDs.
//!
//! Read leniently, for these are other people's images too: what Larder would not bake may still hold a layer.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::{ChainId, Digest, RootFs};
use serde::Deserialize;

use crate::containerd::{Containerd, ContainerdError};

/// The layers of an image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    /// Base first.
    pub(crate) layers: Vec<ChainId>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    manifests: Vec<Pointer>,
    config: Option<Pointer>,
}

#[derive(Deserialize)]
struct Pointer {
    digest: String,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

/// What a blob points to.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Manifests(Vec<Digest>),
    Config(Digest),
    Nothing,
}

/// Reads an index or a manifest; whatever else it is leads nowhere.
fn next(bytes: &[u8]) -> Next {
    let parse = |pointer: Pointer| pointer.digest.parse().ok();
    match serde_json::from_slice(bytes) {
        Ok(Node { config: Some(config), .. }) => parse(config).map_or(Next::Nothing, Next::Config),
        Ok(Node { manifests, config: None }) => {
            Next::Manifests(manifests.into_iter().filter_map(parse).collect())
        }
        Err(_) => Next::Nothing,
    }
}

/// The chain IDs of a configuration; none of what is no image.
fn layers(config: &[u8]) -> Vec<ChainId> {
    let Ok(Config { rootfs }) = serde_json::from_slice(config) else { return Vec::new() };
    let mut parent = None;
    let chain = rootfs.diff_ids.into_iter().map(|diff_id| *parent.insert(ChainId::of(parent, diff_id)));
    chain.collect()
}

/// Reads chains from the content store, each target once.
pub(super) struct ChainReader<'a> {
    containerd: &'a Containerd,
    known: BTreeMap<Digest, Vec<Chain>>,
}

impl<'a> ChainReader<'a> {
    pub(super) fn new(containerd: &'a Containerd) -> Self {
        Self { containerd, known: BTreeMap::new() }
    }

    /// The chains of every platform that is there; content that is absent holds nothing.
    pub(super) async fn read(&mut self, target: Digest) -> Result<Vec<Chain>, ContainerdError> {
        if let Some(known) = self.known.get(&target) {
            return Ok(known.clone());
        }
        let (mut chains, mut visited, mut open) = (Vec::new(), BTreeSet::new(), vec![target]);
        while let Some(digest) = open.pop() {
            if !visited.insert(digest) {
                continue;
            }
            let Some(bytes) = self.containerd.read_content(digest).await? else { continue };
            match next(&bytes) {
                Next::Manifests(manifests) => open.extend(manifests),
                Next::Config(config) => {
                    let Some(bytes) = self.containerd.read_content(config).await? else { continue };
                    chains.push(Chain { manifest: digest, config, layers: layers(&bytes) });
                }
                Next::Nothing => {}
            }
        }
        self.known.insert(target, chains.clone());
        Ok(chains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::image;

    #[test]
    fn an_image_is_followed_from_its_index_to_its_layers() {
        let image = image("a", &["x", "y"]);
        let manifest = image.manifest.descriptor.digest;
        assert_eq!(next(&image.target().bytes), Next::Manifests(vec![Digest::of(b"o"), manifest]));
        assert_eq!(next(&image.manifest.bytes), Next::Config(image.config.descriptor.digest));
        let chain: Vec<_> = image.layers.iter().map(|layer| layer.chain_id).collect();
        assert_eq!(layers(&image.config.bytes), chain);
    }

    #[test]
    fn what_is_no_image_has_no_layers() {
        for text in
            ["", "[]", "{}", r#"{"config":{"digest":"sha512:00"}}"#, r#"{"manifests":[{"digest":"x"}]}"#]
        {
            assert!(matches!(next(text.as_bytes()), Next::Nothing | Next::Manifests(_)), "{text}");
            assert_eq!(layers(text.as_bytes()), []);
        }
    }
}
