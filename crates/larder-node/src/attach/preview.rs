//! What an attach would do, without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use larder_core::{Digest, Image, ImageRef, Platform};

use super::{
    AttachError, AttachImageError, AttachOutcome, AttachReport, AttachedImage, check, choose, records,
};
use crate::blocking::blocking;
use crate::containerd::{ImageRecord, NodeOptions};
use crate::disks::Disks;
use crate::generation::{self, ReadyDisk};
use crate::heal::LostDisk;
use crate::labels;
use crate::node::Node;
use crate::stage::{DiskSource, read_source};
use crate::state::StateDir;

/// Says what `attach` would do with the same arguments; mounts nothing and asks containerd only questions.
pub async fn preview_attach(
    options: &NodeOptions,
    source: &DiskSource,
    wanted: &[ImageRef],
    pin: bool,
) -> Result<AttachReport, AttachError> {
    let node = Node::open(options).await?;
    let disk = {
        let source = source.clone();
        blocking(move || read_source(&source)).await?
    };
    let images = choose::choose(&disk.images, wanted)?;
    let state = StateDir::at(&options.state_dir);
    let place = state.place(disk.id);
    let others = {
        let (state, disk) = (state.clone(), disk.id);
        blocking(move || Disks::survey(&state, Some(disk))).await?
    };
    let mut ready = others.ready_disks();
    let known = state.records()?.into_iter().find(|record| record.disk == disk.id);
    let generation = known.map_or(u64::MAX, |record| record.generation);
    ready.push(ReadyDisk { disk: disk.id, place: place.clone(), generation, layers: disk.layers.clone() });
    let snapshots = node.containerd.list_snapshots().await?;
    let overlay = node.overlay.clone();
    let links = blocking(move || overlay.links_below(Path::new("/"))).await?;
    let moves = generation::plan(&snapshots, &links, &ready, |disk| state.place(disk));
    let broken = |disk: &Digest| {
        let disk = disk.to_string();
        snapshots.iter().filter(|snapshot| snapshot.labels.get(labels::DISK) == Some(&disk)).count()
    };
    let lost = others.away.into_iter().map(|(disk, reason)| LostDisk {
        disk,
        layers: broken(&disk),
        reason: Some(reason),
        withdrawn: Vec::new(),
        held: Vec::new(),
    });
    let lost = lost.collect();
    let present: BTreeSet<_> = snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
    let found = node.containerd.list_images().await?;
    let found: BTreeMap<_, _> = found.into_iter().map(|record| (record.name.clone(), record)).collect();
    let judge = |image: &&Image| AttachedImage {
        image: image.reference.clone(),
        result: judge(image, disk.id, pin, &present, &found),
    };
    let images = images.iter().map(judge).collect();
    Ok(AttachReport { disk: disk.id, place, images, moved: moves.redirect.len(), lost, disks: Vec::new() })
}

fn judge(
    image: &Image,
    disk: Digest,
    pin: bool,
    present: &BTreeSet<String>,
    found: &BTreeMap<String, ImageRecord>,
) -> Result<AttachOutcome, AttachImageError> {
    check::check_platform(image, &Platform::host())?;
    let steps = records::plan(image, disk, pin, found)?;
    let (present, missing) = check::split_layers(image, present);
    if !steps.is_empty() || !missing.is_empty() {
        return Ok(AttachOutcome::Attached { linked: missing.len(), present: present.len() });
    }
    let ours = found.get(&records::record_name(&image.reference));
    let ours = ours.is_some_and(|record| record.labels.contains_key(labels::DISK));
    Ok(if ours { AttachOutcome::AlreadyAttached } else { AttachOutcome::AlreadyPulled })
}
