//! Attaching images under one lease: layers of several at the same time, and what names them one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use larder_core::{Digest, Image, Platform};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::blobs::{self, LabelledBlob};
use super::check::{self, Snapshots};
use super::layers::Layers;
use super::records::{self, Step, record_name};
use super::report::{AttachImageError, AttachOutcome, AttachedImage};
use crate::blocking::blocking;
use crate::containerd::{Containerd, ContainerdError, ImageRecord, Lease};
use crate::labels;
use crate::node::Node;
use crate::stage::Staged;
use crate::state::StateDir;

/// CRI learns of images from events, within milliseconds; a busy node is given time.
const CRI_TIMEOUT: Duration = Duration::from_secs(10);
const CRI_POLL: Duration = Duration::from_millis(2);
const LONGEST_CRI_POLL: Duration = Duration::from_millis(50);
/// Images whose layers are linked at the same time. containerd writes one change after another, but not the links beneath
/// them, which have to reach the disk first.
const CHAINS: usize = 4;

/// What is known of the node, kept up to date while images are attached.
pub(super) struct Session<'a> {
    node: &'a Node,
    containerd: Containerd,
    lease: &'a Lease,
    state: &'a StateDir,
    staged: &'a Staged,
    /// As they were when the session was opened.
    snapshots: Snapshots,
    records: BTreeMap<String, ImageRecord>,
    /// Whether a record was led elsewhere: what it named may be garbage.
    updated: bool,
    pin: bool,
}

impl<'a> Session<'a> {
    /// Looks at what the node has.
    pub(super) async fn open(
        node: &'a Node,
        lease: &'a Lease,
        state: &'a StateDir,
        staged: &'a Staged,
        pin: bool,
    ) -> Result<Self, ContainerdError> {
        let containerd = node.containerd.under(lease);
        let snapshots = containerd.list_snapshots().await?;
        let records = containerd.list_images().await?;
        Ok(Self {
            node,
            containerd,
            lease,
            state,
            staged,
            snapshots: snapshots.into_iter().map(|snapshot| (snapshot.name.clone(), snapshot)).collect(),
            records: records.into_iter().map(|record| (record.name.clone(), record)).collect(),
            updated: false,
            pin,
        })
    }

    /// The repositories of `images` in which there is a digest that goes with no image of this disk: its name points elsewhere
    /// now, or it is another disk's.
    pub(super) fn repositories_to_tidy(&self, images: &[&Image]) -> BTreeSet<String> {
        let known: BTreeSet<String> = self.staged.disk.images.iter().flat_map(records::names).collect();
        let repositories: BTreeSet<_> = images.iter().map(|image| image.reference.name()).collect();
        let digests = self.records.values().filter(|record| {
            record.labels.get(labels::AS).is_some_and(|value| value == labels::AS_DIGEST)
                && !known.contains(&record.name)
        });
        let of = digests.filter_map(|record| Some(record.name.rsplit_once('@')?.0.to_owned()));
        of.filter(|repository| repositories.contains(repository)).collect()
    }

    /// Whether nothing that was begun or named is garbage now.
    pub(super) fn only_added(&self, attached: &[AttachedImage]) -> bool {
        !self.updated && attached.iter().all(|image| image.result.is_ok())
    }

    /// Attaches the images; a failure of one does not keep the others. The records of each are written once all that they need
    /// is there.
    pub(super) async fn attach(&mut self, images: &[&Image]) -> Vec<AttachedImage> {
        let mut checked = Vec::with_capacity(images.len());
        for image in images {
            checked.push((*image, self.check(image).await));
        }
        let layers = self.layers();
        // Room for every image: a layer that can be linked waits for nobody's records.
        let (sender, mut receiver) = mpsc::channel(images.len().max(1));
        let link = async move {
            let link = async |(image, checked): (_, Result<(), _>)| match checked {
                Ok(()) => (image, layers.link(image).await),
                Err(error) => (image, Err(error)),
            };
            let mut linked = stream::iter(checked).map(link).buffered(CHAINS);
            while let Some(linked) = linked.next().await {
                if sender.send(linked).await.is_err() {
                    return;
                }
            }
        };
        let write = async {
            let mut written = Vec::with_capacity(images.len());
            while let Some((image, linked)) = receiver.recv().await {
                written.push((image, self.write(image, linked).await));
            }
            written
        };
        let ((), written) = tokio::join!(link, write);
        let mut attached = Vec::with_capacity(images.len());
        for (image, written) in written {
            let result = self.confirm(image, written).await;
            attached.push(AttachedImage { image: image.reference.clone(), result });
        }
        attached
    }

    fn layers(&self) -> Layers<'a> {
        Layers {
            containerd: self.containerd.clone(),
            lease: self.lease,
            overlay: &self.node.overlay,
            staged: self.staged,
            present: self.snapshots.keys().cloned().collect(),
            linked: Mutex::default(),
        }
    }

    /// Writes what names the layers, once they are there.
    async fn write(
        &mut self,
        image: &Image,
        linked: Result<(usize, usize), AttachImageError>,
    ) -> Result<AttachOutcome, AttachImageError> {
        let (linked, present) = linked?;
        let blobs = self.write_blobs(image).await?;
        let records = self.write_records(image).await?;
        let ours = self.records.get(&record_name(&image.reference));
        Ok(if linked + blobs + records > 0 {
            AttachOutcome::Attached { linked, present }
        } else if ours.is_some_and(|record| record.labels.contains_key(labels::DISK)) {
            AttachOutcome::AlreadyAttached
        } else {
            AttachOutcome::AlreadyPulled
        })
    }

    /// What was written counts once CRI tells of it.
    async fn confirm(
        &self,
        image: &Image,
        written: Result<AttachOutcome, AttachImageError>,
    ) -> Result<AttachOutcome, AttachImageError> {
        let outcome = written?;
        self.wait_for_cri(image).await?;
        if let AttachOutcome::Attached { linked, present } = &outcome {
            tracing::info!(image = %image.reference, linked, present, "attached an image");
        }
        Ok(outcome)
    }

    async fn check(&self, image: &Image) -> Result<(), AttachImageError> {
        check::check_platform(image, &Platform::host())?;
        records::plan(image, self.staged.disk.id, self.pin, &self.records)?;
        let links = check::link_targets(image, &self.snapshots, |disk| self.state.place(disk));
        match blocking(move || links.into_iter().find(|(_, target)| !target.is_dir())).await {
            None => Ok(()),
            Some((chain_id, target)) => Err(AttachImageError::Dangling { chain_id, target }),
        }
    }

    /// Writes what is missing and labels what is there; returns how many blobs were changed.
    async fn write_blobs(&self, image: &Image) -> Result<usize, ContainerdError> {
        let mut changed = 0;
        for blob in blobs::labelled(image) {
            changed += usize::from(self.write_blob(blob).await?);
        }
        Ok(changed)
    }

    async fn write_blob(&self, blob: LabelledBlob<'_>) -> Result<bool, ContainerdError> {
        let LabelledBlob { blob, labels } = blob;
        let digest = blob.descriptor.digest;
        if self.containerd.content_labels(digest).await?.is_some() {
            self.containerd.hold_content(self.lease, digest).await?;
            // It may have been collected before it was held.
            if let Some(found) = self.containerd.content_labels(digest).await? {
                let missing = blobs::missing_labels(&labels, &found);
                let changed = !missing.is_empty();
                if changed {
                    self.containerd.add_content_labels(digest, missing).await?;
                }
                return Ok(changed);
            }
        }
        let reference = blobs::write_reference(&self.lease.id, digest);
        self.containerd.write_content(&reference, blob, labels).await?;
        Ok(true)
    }

    /// Writes the records that are missing or not up to date; returns how many.
    async fn write_records(&mut self, image: &Image) -> Result<usize, AttachImageError> {
        let steps = records::plan(image, self.disk(), self.pin, &self.records)?;
        let count = steps.len();
        for step in steps {
            let record = match step {
                Step::Create(record) => {
                    self.containerd.create_image(&record.name, &record.target, record.labels.clone()).await?;
                    record
                }
                Step::Update(record) => {
                    self.updated = true;
                    self.containerd.update_image(&record.name, &record.target, record.labels.clone()).await?;
                    record
                }
            };
            self.records.insert(record.name.clone(), record.into());
        }
        Ok(count)
    }

    /// Waits until the kubelet would be told that the image is there, and is this one.
    async fn wait_for_cri(&self, image: &Image) -> Result<(), AttachImageError> {
        let Some(cri) = &self.node.cri else { return Ok(()) };
        let name = record_name(&image.reference);
        let wanted = Some(image.config.descriptor.digest);
        let deadline = Instant::now() + CRI_TIMEOUT;
        let mut poll = CRI_POLL;
        while cri.image_id(&name).await? != wanted {
            if Instant::now() >= deadline {
                return Err(AttachImageError::NotListed { name, after: CRI_TIMEOUT });
            }
            tokio::time::sleep(poll).await;
            poll = LONGEST_CRI_POLL.min(poll * 2);
        }
        Ok(())
    }

    fn disk(&self) -> Digest {
        self.staged.disk.id
    }
}
