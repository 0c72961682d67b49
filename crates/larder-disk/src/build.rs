//! Bakes images into a disk: layers in parallel, each verified, inflated and laid out in one pass.

mod assemble;
mod layer;
mod output;
mod plan;
mod signature;
mod stream;

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use larder_core::{ByteSize, DiffId, Digest, Image, Layer};
use serde::Serialize;

use crate::ext4::{Ext4Error, Sizing, Target, Volume, VolumeOptions};
use crate::layout::file_system_uuid;
use crate::tree::Tree;
use assemble::assemble;
use output::Output;
pub use output::OutputError;
use plan::Plan;
pub use plan::{BuildPlan, PlannedLayer, plan};
use stream::Shared;

/// Where layers' blobs come from.
pub trait LayerSource: Sync {
    /// The blob of a layer, compressed as it is stored. The source proves its digest: a blob that is not what the descriptor says is
    /// an error at the latest when the end is read. Dropping the reader cancels what is under way.
    fn open(&self, layer: &Layer) -> io::Result<Box<dyn BufRead + Send + '_>>;

    /// Whether opening a blob again, after it could not be read because of `error`, reads it from another place.
    fn is_elsewhere(&self, error: &io::Error) -> bool;
}

/// Is told what happens; called from several threads.
pub trait Reporter: Sync {
    /// What is going to be done: the layers, without those that several images share.
    fn planned(&self, layers: &[&Layer]);
    /// `bytes` more of a layer's blob were read.
    fn read(&self, layer: &Layer, bytes: u64);
    /// A layer begins anew: `bytes` of it that were read count no more.
    fn restarted(&self, layer: &Layer, bytes: u64);
    /// A layer is on the disk, verified.
    fn finished(&self, layer: &Layer);
    /// All layers are there; directories, inodes and tables are being written.
    fn writing_metadata(&self);
}

/// How to bake.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// Layers at the same time; each takes two threads.
    pub jobs: usize,
    /// Whether the file system has a journal (an empty one: nothing is ever written to the disk again).
    pub journal: bool,
    /// Whether a device that holds something may be overwritten.
    pub force: bool,
    /// Bytes of the file system; none for what is needed, or the whole of a device.
    pub size: Option<u64>,
    /// Free bytes beside what is needed, in a file of no given size.
    pub headroom: u64,
    /// Bytes that one layer may inflate to.
    pub max_layer_size: u64,
    /// Whether `snapshots.metadata` has the reference's MD5 column.
    pub checksums: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            jobs: 1,
            journal: true,
            force: false,
            size: None,
            headroom: 0,
            max_layer_size: MAX_LAYER_SIZE,
            checksums: false,
        }
    }
}

/// Three times the largest images in use; a bomb is noticed before it fills most disks.
pub const MAX_LAYER_SIZE: u64 = 128 << 30;

/// Tells a build from outside that it should end.
#[derive(Debug, Default)]
pub struct Cancel(AtomicBool);

impl Cancel {
    /// The build ends with [`BuildError::Cancelled`], at the next piece of a layer at the latest.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Layers of one image: the options of an overlay mount have a page of 4096 bytes, and containerd's lower directories
/// (`NNNNN/fs:`) take nine of them each.
pub const MAX_LAYERS: usize = 450;

/// What was baked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildReport {
    /// The disk's id: the digest of its `index.json`.
    pub id: Digest,
    /// Bytes of the file system, and of the file that holds it.
    pub size: u64,
    /// Bytes of it that are in use.
    pub used: u64,
    /// Files, directories and links on the disk.
    pub inodes: u64,
    /// Layers on the disk.
    pub layers: usize,
    /// Layers of all images, shared ones counted each time.
    pub layer_uses: usize,
    /// Bytes of the layers' blobs, as they were fetched.
    pub blob_bytes: u64,
}

/// Why a disk was not baked.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to bake.
    #[error("no images to bake")]
    NoImages,
    /// Two different images under one name.
    #[error("image {image} is named twice, as {first} and as {second}")]
    Conflict {
        /// The name.
        image: String,
        /// What it resolved to the first time.
        first: Digest,
        /// What it resolved to the second time.
        second: Digest,
    },
    /// An image that no node could run.
    #[error("image {image} has {layers} layers: a mount takes about {MAX_LAYERS}")]
    TooManyLayers {
        /// Its name.
        image: String,
        /// As its manifest lists them.
        layers: usize,
    },
    /// The output cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A layer's blob cannot be read: the network, its digest, or its compression.
    #[error("image {image}: layer {layer}")]
    Source {
        /// An image that has the layer.
        image: String,
        /// The digest of the layer's blob.
        layer: Digest,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
    /// A layer's content is not a layer.
    #[error("image {image}: layer {layer}: {reason}")]
    Layer {
        /// An image that has the layer.
        image: String,
        /// The digest of the layer's blob.
        layer: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer's content is another than its image says.
    #[error(
        "image {image}: layer {layer}: its content has the diff ID {found}, not {expected} as in the image's configuration"
    )]
    DiffId {
        /// An image that has the layer.
        image: String,
        /// The digest of the layer's blob.
        layer: Digest,
        /// As the configuration says.
        expected: DiffId,
        /// As computed.
        found: DiffId,
    },
    /// The disk is smaller than its content.
    #[error("{output} is too small: it has {available}, about {needed} are needed", output = .output.display())]
    TooSmall {
        /// The output.
        output: PathBuf,
        /// Its size.
        available: ByteSize,
        /// From what was laid out so far, and how much of the blobs that was.
        needed: ByteSize,
    },
    /// The disk that was asked for is larger than the device.
    #[error("{output} has only {available}, less than the {wanted} of --size", output = .output.display())]
    DeviceTooSmall {
        /// The output.
        output: PathBuf,
        /// Its size.
        available: ByteSize,
        /// As asked for.
        wanted: ByteSize,
    },
    /// The file system cannot be written.
    #[error("{output}", output = .output.display())]
    Write {
        /// The output.
        output: PathBuf,
        /// What is wrong.
        #[source]
        source: Ext4Error,
    },
    /// [`Cancel::cancel`] was called.
    #[error("interrupted")]
    Cancelled,
}

/// Bakes `images` into `output`, a file or a block device. On failure nothing is left of a file, and a device holds no file system.
pub fn build(
    images: &[Image],
    source: &dyn LayerSource,
    output: &Path,
    options: &BuildOptions,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<BuildReport, BuildError> {
    let plan = Plan::new(images)?;
    let target = Output::open(output, options.force)?;
    let sizing = sizing(output, target.target(), options)?;
    let blob_bytes = plan.blob_bytes();
    if let Sizing::Fixed(bytes) = sizing
        && bytes < blob_bytes
    {
        let (available, needed) = (ByteSize(bytes), ByteSize(plan::estimate(blob_bytes)));
        return Err(BuildError::TooSmall { output: output.to_owned(), available, needed });
    }
    let jobs = options.jobs.clamp(1, plan.layers.len().max(1));
    let BuildOptions { journal, checksums, max_layer_size, .. } = *options;
    let volume = VolumeOptions { sizing, journal, checksums, workers: jobs + 1 };
    let in_output = |source| BuildError::Write { output: output.to_owned(), source };
    let volume = Volume::create(target.path(), target.target(), volume).map_err(in_output)?;
    let shared = Shared { reporter, cancel, failed: AtomicBool::new(false), read: AtomicU64::new(0) };
    let bake = Bake { plan: &plan, source, volume: &volume, output, max_layer_size, shared: &shared };
    let trees = bake.layers(jobs)?;
    reporter.writing_metadata();
    let (tree, id) = assemble(&plan, trees, &volume, checksums).map_err(|error| bake.write_error(error))?;
    let full = bake.needed();
    let finished =
        volume.finish(&tree, file_system_uuid(id)).map_err(|source| too_small(output, source, full))?;
    target.commit()?;
    Ok(BuildReport {
        id,
        size: finished.size,
        used: finished.used,
        inodes: finished.inodes,
        layers: plan.layers.len(),
        layer_uses: plan.images.iter().map(|image| image.layers.len()).sum(),
        blob_bytes,
    })
}

/// What the output allows and the options ask for.
fn sizing(output: &Path, target: Target, options: &BuildOptions) -> Result<Sizing, BuildError> {
    match (target, options.size) {
        (Target::File, None) => Ok(Sizing::Needed { headroom: options.headroom }),
        (Target::File, Some(size)) => Ok(Sizing::Fixed(size)),
        (Target::Device(device), Some(size)) if size > device => {
            let (available, wanted) = (ByteSize(device), ByteSize(size));
            Err(BuildError::DeviceTooSmall { output: output.to_owned(), available, wanted })
        }
        (Target::Device(device), size) => Ok(Sizing::Fixed(size.unwrap_or(device))),
    }
}

fn too_small(output: &Path, source: Ext4Error, needed: ByteSize) -> BuildError {
    let output = output.to_owned();
    match source {
        Ext4Error::Full { available } => BuildError::TooSmall { output, available, needed },
        source => BuildError::Write { output, source },
    }
}

struct Bake<'a> {
    plan: &'a Plan<'a>,
    source: &'a dyn LayerSource,
    volume: &'a Volume,
    output: &'a Path,
    max_layer_size: u64,
    shared: &'a Shared<'a>,
}

impl Bake<'_> {
    /// Lays out every layer, the largest first, `jobs` at a time; the first failure ends them all.
    fn layers(&self, jobs: usize) -> Result<Vec<Tree>, BuildError> {
        let layers: Vec<&Layer> = self.plan.layers.iter().map(|planned| planned.layer).collect();
        self.shared.reporter.planned(&layers);
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(layers[*index].descriptor.size));
        let next = AtomicUsize::new(0);
        let failed = &self.shared.failed;
        let results: Mutex<Vec<Option<Tree>>> = Mutex::new(vec![None; layers.len()]);
        let failure: Mutex<Option<BuildError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while !failed.load(Ordering::Relaxed) {
                        let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        match layer::lay_out(self, *index) {
                            Ok(tree) => {
                                results.lock().unwrap_or_else(PoisonError::into_inner)[*index] = Some(tree);
                            }
                            Err(error) => {
                                // The others notice the flag; their own errors come later and are not kept.
                                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                                failed.store(true, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(results
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .into_iter()
                .flatten()
                .collect()),
        }
    }

    fn write_error(&self, source: Ext4Error) -> BuildError {
        too_small(self.output, source, self.needed())
    }

    /// The disk that it all needs, judged by what the blobs read so far have become.
    fn needed(&self) -> ByteSize {
        let (read, all) = (self.shared.read.load(Ordering::Relaxed).max(1), self.plan.blob_bytes());
        let needed = u128::from(self.volume.occupied()) * u128::from(all.max(read)) / u128::from(read);
        ByteSize(u64::try_from(needed).unwrap_or(u64::MAX))
    }
}
