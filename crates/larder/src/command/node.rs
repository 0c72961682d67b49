//! `larder attach` and `larder detach`: ask the node, and say of each image what became of it.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use larder_node::{
    AttachOptions, AttachOutcome, AttachReport, AttachedImage, DetachOptions, DetachOutcome, DetachReport,
    DiskOutcome, DiskReport, DiskSelector, DiskSource, DiskTree, LostDisk, NodeOptions, RestoreReport, Use,
};
use tokio::runtime::{Builder, Runtime};

use crate::cli::{AttachArgs, ContainerdArgs, DetachArgs, PlaceArgs};
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;

use super::UsageError;

impl From<ContainerdArgs> for NodeOptions {
    fn from(args: ContainerdArgs) -> Self {
        let ContainerdArgs { place: PlaceArgs { containerd, root, state_dir }, namespace } = args;
        Self { socket: containerd, root, namespace, state_dir }
    }
}

pub(super) fn attach(args: AttachArgs) -> anyhow::Result<Exit> {
    let AttachArgs { disks, images, restore, mount_only, pin, no_pin, dry_run, force_heal, hydrate, .. } =
        args;
    if disks.len() > 1 && !images.is_empty() {
        return Err(UsageError("images can be named for one disk at a time".to_owned()).into());
    }
    let sources = enter(args.mount_namespace.as_deref(), &disks)?;
    let options: NodeOptions = args.containerd.into();
    let how = AttachOptions { pin: pin && !no_pin, force_heal };
    let runtime = runtime()?;
    if mount_only {
        return mount_disks(&runtime, &options);
    }
    if restore {
        return restore_disks(&runtime, &options, how);
    }
    let mut exit = Exit::Done;
    for (disk, source) in disks.iter().zip(sources) {
        let done = async {
            Ok(if dry_run {
                larder_node::preview_attach(&options, &source, &images, how.pin).await?
            } else {
                Box::pin(larder_node::attach(&options, &source, &images, how)).await?
            })
        };
        let report =
            runtime.block_on(or_interrupted(done)).with_context(|| format!("disk {}", disk.display()))?;
        say_attached(&report, dry_run);
        if !dry_run {
            super::hydrate::start(hydrate, &options.state_dir, report.disk)?;
        }
        if report.has_failures() {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// Directories are this mount namespace's, and are taken along; everything else is the other one's.
fn enter(namespace: Option<&Path>, disks: &[PathBuf]) -> anyhow::Result<Vec<DiskSource>> {
    let Some(namespace) = namespace else {
        return Ok(disks.iter().map(|disk| DiskSource::at(disk)).collect::<Result<_, _>>()?);
    };
    let take = |disk: &PathBuf| disk.is_dir().then(|| DiskTree::copy(disk)).transpose();
    let trees: Vec<Option<DiskTree>> = disks.iter().map(take).collect::<Result<_, _>>()?;
    let entered = larder_node::enter_mount_namespace(namespace);
    entered.with_context(|| format!("cannot enter the mount namespace {}", namespace.display()))?;
    let source = |(tree, disk): (Option<DiskTree>, &PathBuf)| {
        tree.map_or_else(|| DiskSource::at(disk), |tree| Ok(DiskSource::Tree(tree)))
    };
    Ok(trees.into_iter().zip(disks).map(source).collect::<Result<_, _>>()?)
}

fn say_attached(report: &AttachReport, dry_run: bool) {
    let AttachReport { disk, place: _, images, moved, lost, disks } = report;
    say_images(images, dry_run);
    if *moved > 0 {
        let (led, layers) = (if dry_run { "would be led" } else { "led" }, count(*moved));
        printer::talk(format_args!("disk {disk}: {layers} of earlier disks {led} to their latest disk"));
    }
    lost.iter().for_each(say_lost);
    disks.iter().for_each(say_disk);
    printer::talk(format_args!("disk {disk}: {} images", images.len()));
}

fn say_images(images: &[AttachedImage], dry_run: bool) {
    for image in images {
        match &image.result {
            Ok(outcome) => said(&image.image, format_args!("{}{}", would(dry_run), attached(outcome))),
            Err(error) => failed(&image.image, error),
        }
    }
}

fn would(dry_run: bool) -> &'static str {
    if dry_run { "would be " } else { "" }
}

fn say_lost(lost: &LostDisk) {
    let LostDisk { disk, reason, withdrawn, layers, held } = lost;
    match reason {
        Some(reason) => printer::failure(&format!("disk {disk}"), reason),
        None => printer::talk(format_args!("disk {disk}: away, and nothing is known of where it was")),
    }
    for record in withdrawn {
        printer::talk(format_args!("disk {disk}: withdrew {record}"));
    }
    if *layers > 0 {
        let (layers, held) = (count(*layers), uses(held));
        printer::talk(format_args!(
            "disk {disk}: {layers} broken{held}; --force-heal removes such images and ended containers"
        ));
    }
}

fn uses(by: &[Use]) -> String {
    let by: Vec<String> = by.iter().map(ToString::to_string).collect();
    if by.is_empty() { String::new() } else { format!(", held by {}", by.join(", ")) }
}

fn mount_disks(runtime: &Runtime, options: &NodeOptions) -> anyhow::Result<Exit> {
    let remount = async { Ok(larder_node::remount(&options.state_dir).await?) };
    let mut exit = Exit::Done;
    for disk in runtime.block_on(or_interrupted(remount))? {
        match disk.result {
            Ok(place) => printer::data(format_args!("{}: mounted at {}", disk.disk, place.display())),
            Err(error) => {
                printer::failure(&format!("disk {}", disk.disk), &error);
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

fn restore_disks(runtime: &Runtime, options: &NodeOptions, how: AttachOptions) -> anyhow::Result<Exit> {
    let restore = async { Ok(Box::pin(larder_node::restore(options, how)).await?) };
    let report = runtime.block_on(or_interrupted(restore))?;
    let RestoreReport { disks, lost } = &report;
    for disk in disks {
        say_images(&disk.images, false);
        printer::talk(format_args!("disk {}: {} images", disk.disk, disk.images.len()));
    }
    lost.iter().for_each(say_lost);
    Ok(if report.has_failures() { Exit::Failed } else { Exit::Done })
}

pub(super) fn detach(args: DetachArgs) -> anyhow::Result<Exit> {
    let DetachArgs { disk, images, keep_shared, dry_run, mount_namespace, containerd } = args;
    enter(mount_namespace.as_deref(), &[])?;
    let selector = disk.map(|disk| DiskSelector::parse(&disk)).transpose()?;
    let options = containerd.into();
    let how = DetachOptions { keep_shared };
    let detach = async {
        Ok(if dry_run {
            larder_node::preview_detach(&options, selector.as_ref(), &images, how).await?
        } else {
            Box::pin(larder_node::detach(&options, selector.as_ref(), &images, how)).await?
        })
    };
    let report = runtime()?.block_on(or_interrupted(detach))?;
    let DetachReport { images, disks, copied, all: _ } = &report;
    for image in images {
        match &image.result {
            Ok(DetachOutcome::Detached { layers }) => {
                said(&image.name, format_args!("{}detached, {}", would(dry_run), count(*layers)));
            }
            Ok(DetachOutcome::NotAttached) => said(&image.name, "not attached"),
            Err(error) => failed(&image.name, error),
        }
    }
    if *copied > 0 {
        printer::talk(format_args!(
            "{} {}copied to the node, for others need them",
            count(*copied),
            would(dry_run)
        ));
    }
    disks.iter().for_each(say_disk);
    if images.is_empty() && disks.is_empty() {
        printer::talk("nothing is attached");
    }
    Ok(if report.has_failures() { Exit::Failed } else { Exit::Done })
}

fn say_disk(disk: &DiskReport) {
    let DiskReport { disk, outcome } = disk;
    match outcome {
        DiskOutcome::Released => printer::talk(format_args!("disk {disk}: released")),
        DiskOutcome::Busy { device } => printer::talk(format_args!(
            "disk {disk}: unmounted, but running containers still read {}: it must stay until they end",
            device.display()
        )),
        DiskOutcome::Kept { layers, by } => {
            printer::talk(format_args!("disk {disk}: kept, {} in use{}", count(*layers), uses(by)));
        }
    }
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

/// One thread does: it waits for containerd, and file systems have threads of their own.
fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}
