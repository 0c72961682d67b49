//! `cargo xtask bench node`: the same images attached from a disk and pulled through CRI from a registry on this machine, in turn.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use larder_core::{ByteSize, ImageRef};
use larder_tests::containerd::{Containerd, Version};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, busybox};
use larder_tests::larder::node_arguments;
use larder_tests::loopdev::{Access, LoopDevice};
use larder_tests::process::run_within;
use larder_tests::registry::Registry;
use larder_tests::workdir::Workdir;
use rustix::mount::{UnmountFlags, unmount};
use serde::Serialize;

use super::measure::{Figures, median, program, seconds};
use super::record::{self, release_binary};
use crate::say;

/// How many images are attached at once.
const COUNTS: [usize; 3] = [1, 10, 100];
/// Layers of an image: a base that all share, and up to so many of its own.
const OWN_LAYERS: usize = 11;
/// Content of a layer of its own, bytes: incompressible, so that a pull has something to fetch.
const LAYER_BYTES: usize = 256 << 10;
/// What attach may take, milliseconds: for each layer that is new on the node, and for each image.
const BUDGET: (f64, f64) = (5.0, 10.0);
/// Baking the largest disk.
const BAKE: std::time::Duration = std::time::Duration::from_mins(10);

/// So many images on one containerd: medians.
#[derive(Debug, Serialize)]
struct Report {
    containerd: String,
    images: usize,
    new_layers: usize,
    layer_bytes: u64,
    attach: Figures,
    attach_ms_per_image: f64,
    attach_ms_per_new_layer: f64,
    /// What attach took of what it may take.
    of_budget: f64,
    pull_seconds: f64,
    pull_ms_per_image: f64,
    /// How much faster attach is.
    faster: f64,
    /// Bytes of layers that the registry sent while images were attached.
    layer_bytes_fetched_by_attach: u64,
}

/// Images, what they are called in the registry, and a disk that holds them.
struct Stock {
    registry: Registry,
    names: Vec<ImageRef>,
    new_layers: usize,
    layer_bytes: u64,
    disk: LoopDevice,
    _directory: Workdir,
}

pub(super) fn run(runs: usize) -> Result<()> {
    let binary = release_binary()?;
    let mut reports = Vec::new();
    for count in COUNTS {
        let stock = Stock::of(count, &binary)?;
        for version in Version::ALL {
            let report = measure(&stock, &binary, version, runs)?;
            print(&report);
            reports.push(report);
        }
    }
    record::keep("node", &reports)?;
    let over: Vec<_> = reports.iter().filter(|report| report.of_budget > 1.0).collect();
    ensure!(over.is_empty(), "attach took longer than it may: {over:?}");
    Ok(())
}

impl Stock {
    fn of(count: usize, binary: &Path) -> Result<Self> {
        say(format_args!("making {count} images"));
        let registry = Registry::start()?;
        let base = busybox()?.build(Compression::Gzip)?;
        let (mut names, mut new_layers, mut layer_bytes) = (Vec::new(), 1, base.size);
        for number in 0..count {
            let own = layers(number)?;
            new_layers += own.len();
            layer_bytes += own.iter().map(|layer| layer.size).sum::<u64>();
            let image: Image =
                ImageBuilder::default().layer(&base).layers(&own).cmd(&["/bin/busybox", "true"]).build();
            names.push(registry.push(&image, &format!("bench/node-{number}:1"))?);
        }
        let directory = Workdir::new()?;
        let file = directory.join("disk.img");
        let mut build = std::process::Command::new(binary);
        build.args(["build", "--quiet", "--plain-http", "-o"]).arg(&file);
        run_within(build.args(names.iter().map(ToString::to_string)), BAKE)?;
        let disk = LoopDevice::attach(&file, Access::ReadOnly)?;
        Ok(Self { registry, names, new_layers, layer_bytes, disk, _directory: directory })
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

fn measure(stock: &Stock, binary: &Path, version: Version, runs: usize) -> Result<Report> {
    let (mut attached, mut pulled, mut fetched) = (Vec::new(), Vec::new(), 0);
    let mut name = String::new();
    for round in 1..=runs {
        say(format_args!("containerd {version}, {} images, round {round} of {runs}", stock.names.len()));
        let containerd = Containerd::start(version)?;
        containerd.version().clone_into(&mut name);
        let before = stock.registry.requests()?.len();
        attached.push(attach(stock, binary, &containerd)?);
        let sent = stock.registry.requests()?;
        fetched += sent.iter().skip(before).map(|request| request.bytes).sum::<u64>();
        drop(containerd);
        let containerd = Containerd::start(version)?;
        pulled.push(pull(stock, &containerd)?);
    }
    pulled.sort_by(f64::total_cmp);
    let pull_seconds = pulled[pulled.len() / 2];
    let (images, new_layers) = (stock.names.len(), stock.new_layers);
    let attach = median(&attached);
    let milliseconds = attach.wall_seconds * 1000.0;
    let (count, layers) = (as_float(images), as_float(new_layers));
    Ok(Report {
        containerd: name,
        images,
        new_layers,
        layer_bytes: stock.layer_bytes,
        attach,
        attach_ms_per_image: milliseconds / count,
        attach_ms_per_new_layer: milliseconds / layers,
        of_budget: milliseconds / (BUDGET.0 * layers + BUDGET.1 * count),
        pull_seconds,
        pull_ms_per_image: pull_seconds * 1000.0 / count,
        faster: pull_seconds / attach.wall_seconds,
        layer_bytes_fetched_by_attach: fetched,
    })
}

#[expect(clippy::cast_precision_loss, reason = "some thousand at most")]
fn as_float(count: usize) -> f64 {
    count as f64
}

/// From the start of the program to its end, when CRI has confirmed every image.
fn attach(stock: &Stock, binary: &Path, containerd: &Containerd) -> Result<Figures> {
    let directory = Workdir::new()?;
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut argv = vec![path(binary), "attach".to_owned(), "--disk".to_owned(), path(stock.disk.path())];
    argv.extend(node_arguments(containerd));
    let figures = program(argv, directory.path());
    let missing = stock.names.iter().find_map(|name| match containerd.image_status(&name.to_string()) {
        Ok(Some(_)) => None,
        other => Some((name, other)),
    });
    let disks = containerd.root().with_file_name("larder").join("disks");
    for disk in disks.read_dir().context("list the attached disks")? {
        unmount(disk?.path(), UnmountFlags::DETACH).context("take the disk away")?;
    }
    ensure!(missing.is_none(), "not attached: {missing:?}");
    figures
}

/// Pulls one image after another, as the kubelet does unless it is told otherwise.
fn pull(stock: &Stock, containerd: &Containerd) -> Result<f64> {
    let (took, ()) = seconds(|| stock.names.iter().try_for_each(|name| containerd.pull(name).map(drop)))?;
    Ok(took)
}

fn print(report: &Report) {
    let Report { containerd, images, new_layers, layer_bytes, attach, .. } = report;
    say(format_args!(
        "containerd {containerd}: {images} images, {new_layers} layers, {}: attach {:.0} ms ({:.1} ms an image, {:.2} ms a new \
         layer, {:.2} of what it may take, {} of memory), {} fetched; pull {:.0} ms ({:.1} ms an image): attach is {:.0} times faster",
        ByteSize(*layer_bytes),
        attach.wall_seconds * 1000.0,
        report.attach_ms_per_image,
        report.attach_ms_per_new_layer,
        report.of_budget,
        ByteSize(attach.peak_memory_bytes),
        ByteSize(report.layer_bytes_fetched_by_attach),
        report.pull_seconds * 1000.0,
        report.pull_ms_per_image,
        report.faster,
    ));
}
