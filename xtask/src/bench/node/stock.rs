//! What is attached and pulled: images of many layers, a registry that has them, and a disk that holds them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use larder_core::{ChainId, ImageRef};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, busybox};
use larder_tests::loopdev::{Access, LoopDevice};
use larder_tests::process::run_within;
use larder_tests::registry::Registry;
use larder_tests::workdir::Workdir;

use crate::say;

/// Layers of an image: a base that all share, and up to so many of its own.
const OWN_LAYERS: usize = 11;
/// Content of a layer of its own, bytes: incompressible, so that a pull has something to fetch.
const LAYER_BYTES: usize = 256 << 10;
/// Baking the largest disk.
const BAKE: Duration = Duration::from_mins(10);

/// Images, what they are called in the registry, and a disk that holds them.
pub(super) struct Stock {
    pub(super) registry: Registry,
    pub(super) names: Vec<ImageRef>,
    /// The chain IDs of each image's layers, base first.
    pub(super) chains: Vec<Vec<ChainId>>,
    pub(super) new_layers: usize,
    pub(super) layer_bytes: u64,
    pub(super) disk: LoopDevice,
    _directory: Workdir,
}

impl Stock {
    /// So many images, in a registry and on a disk.
    pub(super) fn of(count: usize, binary: &Path) -> Result<Self> {
        say(format_args!("making {count} images"));
        let registry = Registry::start()?;
        let base = busybox()?.build(Compression::Gzip)?;
        let (mut names, mut chains, mut new_layers, mut layer_bytes) = (Vec::new(), Vec::new(), 1, base.size);
        for number in 0..count {
            let own = layers(number)?;
            new_layers += own.len();
            layer_bytes += own.iter().map(|layer| layer.size).sum::<u64>();
            let image: Image =
                ImageBuilder::default().layer(&base).layers(&own).cmd(&["/bin/busybox", "true"]).build();
            chains.push(image.chain_ids());
            names.push(registry.push(&image, &format!("bench/node-{number}:1"))?);
        }
        let directory = Workdir::new()?;
        let file = directory.join("disk.img");
        let mut build = std::process::Command::new(binary);
        build.args(["build", "--quiet", "--plain-http", "-o"]).arg(&file);
        run_within(build.args(names.iter().map(ToString::to_string)), BAKE)?;
        let disk = LoopDevice::attach(&file, Access::ReadOnly)?;
        Ok(Self { registry, names, chains, new_layers, layer_bytes, disk, _directory: directory })
    }
}

/// One image's own layers: from one to the most, so that images differ.
fn layers(number: usize) -> Result<Vec<Layer>> {
    // The one image of the smallest run has the most of them.
    let count = OWN_LAYERS - number % OWN_LAYERS;
    (0..count)
        .map(|layer| LayerBuilder::default().entry(content(number, layer)).build(Compression::Gzip))
        .collect()
}

/// Bytes that no compressor makes smaller, and no other layer has (a linear congruential generator, Knuth's constants).
fn content(number: usize, layer: usize) -> Entry {
    let mut state = (number * OWN_LAYERS + layer) as u64 + 1;
    let bytes: Vec<u8> = (0..LAYER_BYTES)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .collect();
    Entry::file(format!("data-{layer}"), bytes)
}
