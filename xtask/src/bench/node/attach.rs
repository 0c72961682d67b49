//! `larder attach` beside pulls of the same images through CRI, and beside the calls that containerd cannot be spared.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use larder_core::ByteSize;
use larder_tests::containerd::{Containerd, Version};
use larder_tests::larder::node_arguments;
use larder_tests::workdir::Workdir;
use rustix::mount::{UnmountFlags, unmount};
use serde::Serialize;

use super::floor;
use super::stock::Stock;
use crate::bench::measure::{Figures, as_float, median, middle, program, seconds};
use crate::say;

/// What attach may take, milliseconds: for each layer that is new on the node, and for each image.
const BUDGET: (f64, f64) = (5.0, 10.0);

/// So many images on one containerd: medians.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    containerd: String,
    images: usize,
    new_layers: usize,
    layer_bytes: u64,
    attach: Figures,
    attach_ms_per_image: f64,
    attach_ms_per_new_layer: f64,
    /// What attach took of what it may take.
    pub(super) of_budget: f64,
    /// Bare calls that make as many layers on as many chains, without links, content and records.
    floor_seconds: f64,
    to_floor: f64,
    pull_seconds: f64,
    pull_ms_per_image: f64,
    /// How much faster attach is.
    faster: f64,
    /// Bytes of layers that the registry sent while images were attached.
    layer_bytes_fetched_by_attach: u64,
}

/// Attach, floor and pull in turn, each on an empty containerd.
pub(super) fn measure(stock: &Stock, binary: &Path, version: Version, runs: usize) -> Result<Report> {
    let (mut attached, mut floors, mut pulled, mut fetched) = (Vec::new(), Vec::new(), Vec::new(), 0);
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
        floors.push(floor::measure(&Containerd::start(version)?, &stock.chains)?);
        let containerd = Containerd::start(version)?;
        pulled.push(pull(stock, &containerd)?);
    }
    let (floor_seconds, pull_seconds) = (middle(floors), middle(pulled));
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
        floor_seconds,
        to_floor: attach.wall_seconds / floor_seconds,
        pull_seconds,
        pull_ms_per_image: pull_seconds * 1000.0 / count,
        faster: pull_seconds / attach.wall_seconds,
        layer_bytes_fetched_by_attach: fetched,
    })
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

pub(super) fn print(report: &Report) {
    let Report { containerd, images, new_layers, layer_bytes, attach, .. } = report;
    say(format_args!(
        "containerd {containerd}: {images} images, {new_layers} layers, {}: attach {:.0} ms ({:.1} ms an image, {:.2} ms a new \
         layer, {:.2} of what it may take, {:.2} of bare calls, {} of memory), {} fetched; pull {:.0} ms ({:.1} ms an image): \
         attach is {:.0} times faster",
        ByteSize(*layer_bytes),
        attach.wall_seconds * 1000.0,
        report.attach_ms_per_image,
        report.attach_ms_per_new_layer,
        report.of_budget,
        report.to_floor,
        ByteSize(attach.peak_memory_bytes),
        ByteSize(report.layer_bytes_fetched_by_attach),
        report.pull_seconds * 1000.0,
        report.pull_ms_per_image,
        report.faster,
    ));
}
