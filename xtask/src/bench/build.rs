//! `cargo xtask bench build`: one registry, one image as gzip and as zstd; larder, the reference and the floor in turn.

use std::path::Path;

use anyhow::Result;
use larder_core::{ByteSize, ImageRef};
use larder_tests::image::{Compression, Image};
use larder_tests::registry::Registry;
use larder_tests::workdir::Workdir;
use serde::Serialize;

use super::measure::{Figures, disk_usage, median, program};
use super::record::{self, release_binary};
use super::{floor, images, reference};
use crate::say;

/// Room for the reference's file system, which its kernel fills less densely.
const REFERENCE_ROOM: u64 = 2 << 30;

/// One image's results: medians, and how they compare.
#[derive(Debug, Serialize)]
struct Report {
    compression: String,
    compressed_bytes: u64,
    tar_bytes: u64,
    layers: usize,
    larder: Figures,
    larder_md5: Figures,
    reference: Figures,
    reference_md5: Figures,
    floor_seconds: f64,
    inflate_seconds: f64,
    write_seconds: f64,
    to_reference: f64,
    to_reference_md5: f64,
    to_floor: f64,
}

pub(super) fn run(runs: usize) -> Result<()> {
    let binary = release_binary()?;
    let registry = Registry::start()?;
    let mut reports = Vec::new();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let image = images::image(compression)?;
        let name = registry.push(&image, &format!("bench/{compression:?}:1").to_lowercase())?;
        let report = measure(&binary, &image, &name, compression, runs)?;
        print(&report);
        reports.push(report);
    }
    record::keep("build", &reports)
}

fn measure(
    binary: &Path,
    image: &Image,
    name: &ImageRef,
    compression: Compression,
    runs: usize,
) -> Result<Report> {
    let directory = Workdir::new()?;
    let (mut plain, mut md5, mut theirs, mut theirs_md5, mut floors) =
        (vec![], vec![], vec![], vec![], vec![]);
    for round in 1..=runs {
        say(format_args!("round {round} of {runs}"));
        let (figures, size) = larder(binary, name, &[], directory.path())?;
        plain.push(figures);
        md5.push(larder(binary, name, &["--store-snapshot-checksum"], directory.path())?.0);
        floors.push(floor::measure(&image.layers, size, directory.path())?);
        let reference = reference::measure(name, image, size + REFERENCE_ROOM, directory.path())?;
        theirs.push(reference.without_md5);
        theirs_md5.push(reference.with_md5);
    }
    floors.sort_by(|a, b| a.seconds().total_cmp(&b.seconds()));
    let floor = floors[floors.len() / 2];
    let [larder, larder_md5, reference, reference_md5] =
        [&plain, &md5, &theirs, &theirs_md5].map(|runs| median(runs));
    Ok(Report {
        compression: format!("{compression:?}").to_lowercase(),
        compressed_bytes: image.layers.iter().map(|layer| layer.size).sum(),
        tar_bytes: image.layers.iter().map(|layer| layer.tar_size).sum(),
        layers: image.layers.len(),
        floor_seconds: floor.seconds(),
        inflate_seconds: floor.inflate,
        write_seconds: floor.write,
        to_reference: larder.wall_seconds / reference.wall_seconds,
        to_reference_md5: larder_md5.wall_seconds / reference_md5.wall_seconds,
        to_floor: larder.wall_seconds / floor.seconds(),
        larder,
        larder_md5,
        reference,
        reference_md5,
    })
}

/// One bake; what is left beside the disk counts as scratch.
fn larder(binary: &Path, name: &ImageRef, more: &[&str], directory: &Path) -> Result<(Figures, u64)> {
    let disk = directory.join("larder.img");
    let mut argv = vec![binary.to_string_lossy().into_owned(), "build".to_owned(), "--quiet".to_owned()];
    argv.extend([
        "--plain-http".to_owned(),
        name.to_string(),
        "-o".to_owned(),
        disk.to_string_lossy().into_owned(),
    ]);
    argv.extend(more.iter().map(|&word| word.to_owned()));
    let empty = disk_usage(directory)?;
    let figures = program(argv, directory)?;
    let size = std::fs::metadata(&disk)?.len();
    std::fs::remove_file(&disk)?;
    let left = disk_usage(directory)?.saturating_sub(empty);
    Ok((Figures { scratch_bytes: left, ..figures }, size))
}

fn print(report: &Report) {
    let Report {
        compression,
        compressed_bytes,
        tar_bytes,
        layers,
        larder,
        larder_md5,
        reference,
        reference_md5,
        ..
    } = report;
    say(format_args!(
        "\n{compression}: {layers} layers, {} compressed, {} of tar",
        ByteSize(*compressed_bytes),
        ByteSize(*tar_bytes)
    ));
    say(format_args!("{:<18} {:>8} {:>8} {:>11} {:>11}", "", "wall s", "CPU s", "memory", "scratch"));
    for (name, figures) in [
        ("larder", larder),
        ("larder, md5", larder_md5),
        ("reference", reference),
        ("reference, md5", reference_md5),
    ] {
        let Figures { wall_seconds, cpu_seconds, peak_memory_bytes, scratch_bytes } = figures;
        let (memory, scratch) =
            (ByteSize(*peak_memory_bytes).to_string(), ByteSize(*scratch_bytes).to_string());
        say(format_args!("{name:<18} {wall_seconds:>8.2} {cpu_seconds:>8.2} {memory:>11} {scratch:>11}"));
    }
    say(format_args!(
        "floor {:.2} s (inflate and hash {:.2} s, write {:.2} s)",
        report.floor_seconds, report.inflate_seconds, report.write_seconds
    ));
    say(format_args!(
        "larder is at 1/{:.1} of the reference, with md5 at 1/{:.1}, and at {:.2} of the floor",
        1.0 / report.to_reference,
        1.0 / report.to_reference_md5,
        report.to_floor
    ));
}
