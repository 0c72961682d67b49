//! What a build, or the plan of one, prints to stdout: lines for people, or one JSON object.

use std::path::Path;
use std::time::Duration;

use larder_core::{ByteSize, Digest, Image};
use larder_disk::{BuildPlan, BuildReport};
use serde::Serialize;

use crate::cli::ReportForm;
use crate::printer;

/// An image, and what its reference resolved to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageReport<'a> {
    reference: String,
    digest: Digest,
    platform: String,
    layers: usize,
    #[serde(skip)]
    image: &'a Image,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Built<'a> {
    output: &'a Path,
    images: Vec<ImageReport<'a>>,
    #[serde(flatten)]
    report: &'a BuildReport,
    seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned<'a> {
    images: Vec<ImageReport<'a>>,
    #[serde(flatten)]
    plan: &'a BuildPlan,
    /// Of manifests, configurations and blobs; beside those for tokens.
    requests: usize,
}

/// Prints what was baked.
pub(super) fn built(form: ReportForm, output: &Path, images: &[Image], report: &BuildReport, took: Duration) {
    let images = image_reports(images);
    if form == ReportForm::Json {
        return printer::json(&Built { output, images, report, seconds: took.as_secs_f64() });
    }
    for image in &images {
        printer::data(format_args!("{} {}", image.reference, image.digest));
    }
    printer::talk(format_args!(
        "{}: {} in use of {}, {} layers ({} with shared ones counted each time), {} files, id {}, {:.1} s",
        output.display(),
        ByteSize(report.used),
        ByteSize(report.size),
        report.layers,
        report.layer_uses,
        report.inodes,
        report.id,
        took.as_secs_f64(),
    ));
}

/// Prints what would be baked; `requests` are those to registries.
pub(super) fn planned(form: ReportForm, images: &[Image], plan: &BuildPlan, requests: usize) {
    let images = image_reports(images);
    if form == ReportForm::Json {
        return printer::json(&Planned { images, plan, requests });
    }
    for image in &images {
        let bytes = ByteSize(image.image.blob_bytes());
        printer::data(format_args!("{} {}: {} layers, {bytes}", image.reference, image.digest, image.layers));
    }
    for layer in &plan.layers {
        let shared = if layer.images.len() > 1 {
            format!(", shared by {} images", layer.images.len())
        } else {
            String::new()
        };
        printer::data(format_args!("layer {}: {}{shared}", layer.digest, ByteSize(layer.size)));
    }
    printer::data(format_args!(
        "{} layers to bake for {} in the images, {} to fetch in {requests} requests, about {} on the disk",
        plan.layers.len(),
        plan.layer_uses,
        ByteSize(plan.blob_bytes),
        ByteSize(plan.estimated_disk_bytes),
    ));
}

fn image_reports(images: &[Image]) -> Vec<ImageReport<'_>> {
    images.iter().map(ImageReport::of).collect()
}

impl<'a> ImageReport<'a> {
    fn of(image: &'a Image) -> Self {
        let Image { reference, platform, layers, .. } = image;
        let digest = image.target().descriptor.digest;
        let (reference, platform) = (reference.to_string(), platform.to_string());
        Self { reference, digest, platform, layers: layers.len(), image }
    }
}
