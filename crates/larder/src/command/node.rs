//! `larder attach` and `larder detach`: ask the node, and say of each image what became of it.

use std::fmt::Display;

use anyhow::Context as _;
use larder_node::{
    AttachOutcome, AttachReport, DetachOutcome, DetachReport, DiskOutcome, DiskSelector, DiskSource,
    NodeOptions,
};
use tokio::runtime::Runtime;

use crate::cli::{AttachArgs, ContainerdArgs, DetachArgs};
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;

impl From<ContainerdArgs> for NodeOptions {
    fn from(args: ContainerdArgs) -> Self {
        let ContainerdArgs { containerd, root, namespace, state_dir } = args;
        Self { socket: containerd, root, namespace, state_dir }
    }
}

pub(super) fn attach(args: AttachArgs) -> anyhow::Result<Exit> {
    let AttachArgs { disk, images, hydrate, containerd } = args;
    let (source, options) = (DiskSource::at(&disk)?, NodeOptions::from(containerd));
    let attach = Box::pin(larder_node::attach(&options, &source, &images));
    let report = runtime()?
        .block_on(or_interrupted(async { Ok(attach.await?) }))
        .with_context(|| format!("disk {}", disk.display()))?;
    let AttachReport { disk, place: _, images } = &report;
    for image in images {
        match &image.result {
            Ok(outcome) => said(&image.image, attached(outcome)),
            Err(error) => failed(&image.image, error),
        }
    }
    printer::talk(format_args!("disk {disk}: {} images", images.len()));
    super::hydrate::start(hydrate, &options.state_dir, *disk)?;
    Ok(if report.has_failures() { Exit::Failed } else { Exit::Done })
}

pub(super) fn detach(args: DetachArgs) -> anyhow::Result<Exit> {
    let DetachArgs { disk, images, containerd } = args;
    let selector = disk.map(|disk| DiskSelector::parse(&disk)).transpose()?;
    let options = containerd.into();
    let detach = async { Ok(larder_node::detach(&options, selector.as_ref(), &images).await?) };
    let report = runtime()?.block_on(or_interrupted(detach))?;
    let DetachReport { images, disks, all: _ } = &report;
    for image in images {
        match &image.result {
            Ok(DetachOutcome::Detached { layers }) => {
                said(&image.name, format_args!("detached, {}", count(*layers)));
            }
            Ok(DetachOutcome::NotAttached) => said(&image.name, "not attached"),
            Err(error) => failed(&image.name, error),
        }
    }
    for disk in disks {
        match &disk.outcome {
            DiskOutcome::Released => printer::talk(format_args!("disk {}: released", disk.disk)),
            DiskOutcome::Kept { layers, by } => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                let by = if by.is_empty() { String::new() } else { format!(", held by {}", by.join(", ")) };
                printer::talk(format_args!("disk {}: kept, {} in use{by}", disk.disk, count(*layers)));
            }
        }
    }
    if images.is_empty() && disks.is_empty() {
        printer::talk("nothing is attached");
    }
    Ok(if report.has_failures() { Exit::Failed } else { Exit::Done })
}

fn attached(outcome: &AttachOutcome) -> String {
    match outcome {
        AttachOutcome::Attached { linked, present } => {
            format!("attached, {} linked, {present} already there", count(*linked))
        }
        AttachOutcome::AlreadyAttached => "already attached".to_owned(),
        AttachOutcome::AlreadyPulled => "the node has it already, pulled".to_owned(),
    }
}

fn count(layers: usize) -> String {
    format!("{layers} layer{}", if layers == 1 { "" } else { "s" })
}

fn said(image: &impl Display, what: impl Display) {
    printer::data(format_args!("{image}: {what}"));
}

fn failed(image: &impl Display, error: &(impl std::error::Error + 'static)) {
    printer::failure(&format!("image {image}"), error);
}

fn runtime() -> anyhow::Result<Runtime> {
    Runtime::new().context("cannot start the runtime")
}
