//! `larder inspect`, `larder verify` and `larder diff`: ask the disk, and print what it says.

mod table;

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use larder_core::ByteSize;
use larder_disk::{Change, DiskDiff, Inspection, VerifyReport};
use serde::Serialize;

use crate::cli::{DiffArgs, Form, InspectArgs, VerifyArgs};
use crate::exit::Exit;
use crate::printer;
pub(super) use table::{Table, short};

pub(super) fn inspect(args: InspectArgs) -> anyhow::Result<Exit> {
    let InspectArgs { disk, output } = args;
    let inspection = inspected(&disk)?;
    print(output, &inspection, || inspection_text(&inspection))?;
    Ok(Exit::Done)
}

pub(super) fn diff(args: DiffArgs) -> anyhow::Result<Exit> {
    let DiffArgs { old, new, output } = args;
    let diff = larder_disk::diff(&inspected(&old)?, &inspected(&new)?);
    print(output, &diff, || diff_text(&diff))?;
    Ok(Exit::Done)
}

pub(super) fn verify(args: VerifyArgs) -> anyhow::Result<Exit> {
    let VerifyArgs { disk, output, jobs, quiet } = args;
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let bar = if quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { progress_bar() };
    let report = larder_disk::verify(&disk, jobs, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = report.with_context(|| format!("disk {}", disk.display()))?;
    print(output, &report, || verify_text(&disk, &report))?;
    Ok(if report.is_good() { Exit::Done } else { Exit::Failed })
}

fn inspected(disk: &Path) -> anyhow::Result<Inspection> {
    larder_disk::inspect(disk).with_context(|| format!("disk {}", disk.display()))
}

/// The template is a constant; a mistake in it gives the default bar.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("verifying [{bar:40}] {pos}/{len} layers  {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Prints a report in the form that was asked for.
pub(super) fn print(
    form: Form,
    report: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let text = match form {
        Form::Table => text(),
        Form::Json => serde_json::to_string_pretty(report).context("cannot write the report as JSON")?,
        Form::Yaml => serde_saphyr::to_string(report).context("cannot write the report as YAML")?,
    };
    printer::data(text.trim_end());
    Ok(())
}

fn inspection_text(inspection: &Inspection) -> String {
    let mut facts = Table::default();
    if let Some(id) = inspection.id {
        facts.row(["ID".to_owned(), id.to_string()]);
    }
    if let Some(fs) = &inspection.file_system {
        let journal = fs.journal.map_or_else(|| "none".to_owned(), |bytes| ByteSize(bytes).to_string());
        facts.row(["SIZE".to_owned(), format!("{}, {} in use", ByteSize(fs.size), ByteSize(fs.used))]);
        facts.row(["UUID".to_owned(), fs.uuid.clone()]);
        facts.row(["JOURNAL".to_owned(), journal]);
    }
    let shared = inspection.shared;
    let saved = format!("{} layers, which saves {}", shared.layers, ByteSize(shared.saved_bytes));
    facts.row(["SHARED".to_owned(), saved]);

    let mut images = Table::of(["IMAGE", "DIGEST", "PLATFORM", "LAYERS", "COMPRESSED", "ON DISK", "OWN"]);
    for image in &inspection.images {
        let contents = image.contents.as_ref();
        let size =
            |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
        images.row([
            image.name.clone(),
            image.digest.map_or_else(|| "-".to_owned(), |digest| short(&digest)),
            image.platform.clone().unwrap_or_else(|| "-".to_owned()),
            contents.map_or_else(|| "-".to_owned(), |contents| contents.layers.len().to_string()),
            size(contents.map(|contents| contents.compressed_bytes)),
            size(contents.map(|contents| contents.disk_bytes)),
            size(contents.map(|contents| contents.own_bytes)),
        ]);
    }
    let mut layers = Table::of(["LAYER", "CHAIN ID", "DIFF ID", "FILES", "ON DISK", "IMAGES"]);
    for layer in &inspection.layers {
        layers.row([
            layer.number.to_string(),
            short(&layer.chain_id.0),
            layer.diff_id.map_or_else(|| "-".to_owned(), |diff_id| short(&diff_id.0)),
            layer.files.to_string(),
            ByteSize(layer.bytes).to_string(),
            users(&layer.images),
        ]);
    }
    format!("{facts}\n{images}\n{layers}")
}

/// The images that have a layer; only the first, where there are several.
fn users(images: &[String]) -> String {
    match images {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn diff_text(diff: &DiskDiff) -> String {
    let mut images = Table::of(["", "IMAGE", "OLD", "NEW"]);
    for image in &diff.images {
        let digest = |digest: Option<_>| digest.as_ref().map_or_else(|| "-".to_owned(), short);
        images.row([change(image.change), image.name.clone(), digest(image.old), digest(image.new)]);
    }
    let mut layers = Table::of(["", "CHAIN ID", "FILES", "ON DISK", "IMAGES"]);
    for layer in &diff.layers {
        let (files, bytes) = (layer.files.to_string(), ByteSize(layer.bytes).to_string());
        layers.row([change(layer.change), short(&layer.chain_id.0), files, bytes, users(&layer.images)]);
    }
    let amount =
        |amount: larder_disk::Amount| format!("{} layers ({})", amount.layers, ByteSize(amount.bytes));
    let (added, kept, gone) = (amount(diff.added), amount(diff.kept), amount(diff.gone));
    format!("{images}\n{layers}\nadded {added}, kept {kept}, gone {gone}")
}

fn change(change: Change) -> String {
    let word = match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Kept => "kept",
        Change::Gone => "gone",
    };
    word.to_owned()
}

fn verify_text(disk: &Path, report: &VerifyReport) -> String {
    let warnings = report.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    let problems = report.problems.iter().map(|problem| format!("problem: {problem}\n"));
    let lines: String = warnings.chain(problems).collect();
    let found = report.problems.len() as u64 + report.more_problems;
    let verdict = match found {
        0 => "good".to_owned(),
        1 => "1 problem".to_owned(),
        _ if report.more_problems > 0 => {
            format!("{found} problems, {} of them not shown", report.more_problems)
        }
        _ => format!("{found} problems"),
    };
    let VerifyReport { images, layers, listed, summed, files, bytes, .. } = report;
    format!(
        "{lines}{}: {verdict}: {images} images, {layers} layers ({listed} against their listings, {summed} against an md5), \
         {files} files, {}",
        disk.display(),
        ByteSize(*bytes)
    )
}
