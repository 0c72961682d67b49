//! Bakes images into a disk: layers in parallel, each verified, inflated and laid out in one pass.

mod output;
mod plan;
mod signature;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use larder_core::{ChainId, DiffId, Digest, Image, Layer};
use sha2::{Digest as _, Sha256};

use crate::ext4::{Ext4Error, Volume};
use crate::inflate::inflate;
use crate::layer::{LayerError, inherit, listing, unpack};
use crate::layout::{self, LayerRecord};
use crate::tree::{Attributes, Content, Kind, NodeId, Tree};
use output::Output;
pub use output::OutputError;
use plan::Plan;

/// Where layers' blobs come from.
pub trait LayerSource: Sync {
    /// The blob of a layer, compressed as it is stored. The source proves its digest: a blob that is not what the descriptor says is
    /// an error at the latest when the end is read. Dropping the reader cancels what is under way.
    fn open(&self, layer: &Layer) -> io::Result<Box<dyn BufRead + Send + '_>>;
}

/// Is told what happens; called from several threads.
pub trait Reporter: Sync {
    /// What is going to be done: the layers, without those that several images share.
    fn planned(&self, layers: &[&Layer]);
    /// `bytes` more of a layer's blob were read.
    fn read(&self, layer: &Layer, bytes: u64);
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
}

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

/// What was baked.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    let in_output = |source| BuildError::Write { output: output.to_owned(), source };
    let jobs = options.jobs.clamp(1, plan.layers.len().max(1));
    let volume = Volume::create(target.path(), target.target(), jobs + 1).map_err(in_output)?;
    let bake = Bake { plan: &plan, source, volume: &volume, output, reporter, cancel };
    let trees = bake.layers(jobs)?;
    reporter.writing_metadata();
    let (tree, id) = assemble(&plan, trees, &volume).map_err(in_output)?;
    let uuid = uuid_of(id);
    let finished = volume.finish(&tree, uuid, options.journal).map_err(in_output)?;
    target.commit()?;
    Ok(BuildReport {
        id,
        size: finished.size,
        used: finished.used,
        inodes: finished.inodes,
        layers: plan.layers.len(),
        layer_uses: plan.images.iter().map(|image| image.layers.len()).sum(),
        blob_bytes: plan.layers.iter().map(|planned| planned.layer.descriptor.size).sum(),
    })
}

/// The file system's UUID follows from its content, so that the same images make the same disk.
fn uuid_of(id: Digest) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&id.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes()
}

struct Bake<'a> {
    plan: &'a Plan<'a>,
    source: &'a dyn LayerSource,
    volume: &'a Volume,
    output: &'a Path,
    reporter: &'a dyn Reporter,
    cancel: &'a Cancel,
}

impl Bake<'_> {
    /// Lays out every layer, the largest first, `jobs` at a time; the first failure ends them all.
    fn layers(&self, jobs: usize) -> Result<Vec<Tree>, BuildError> {
        let layers: Vec<&Layer> = self.plan.layers.iter().map(|planned| planned.layer).collect();
        self.reporter.planned(&layers);
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(layers[*index].descriptor.size));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results: Mutex<Vec<Option<Tree>>> = Mutex::new(vec![None; layers.len()]);
        let failure: Mutex<Option<BuildError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while !failed.load(Ordering::Relaxed) {
                        let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        match self.layer(*index, &failed) {
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

    fn layer(&self, index: usize, failed: &AtomicBool) -> Result<Tree, BuildError> {
        let planned = &self.plan.layers[index];
        let layer = planned.layer;
        let failure = |source| self.source_error(index, source);
        let blob = self.source.open(layer).map_err(failure)?;
        let blob = Watched { blob, layer, bake: self, failed };
        std::thread::scope(|scope| {
            let (inflated, _thread) = inflate(scope, Box::new(blob));
            let mut writer = self.volume.writer();
            let hashed = Hashed { input: inflated, hasher: Sha256::new() };
            let unpacked = unpack(hashed, layer.parent.is_none(), &mut writer);
            let (tree, rest) = unpacked.map_err(|error| self.layer_error(index, error))?;
            let found = rest.finish().map_err(failure)?;
            if found != layer.diff_id {
                return Err(BuildError::DiffId {
                    image: planned.image.reference.to_string(),
                    layer: layer.descriptor.digest,
                    expected: layer.diff_id,
                    found,
                });
            }
            writer.finish().map_err(|source| self.write_error(source))?;
            self.reporter.finished(layer);
            Ok(tree)
        })
    }

    fn source_error(&self, index: usize, source: io::Error) -> BuildError {
        if self.cancel.is_cancelled() {
            return BuildError::Cancelled;
        }
        let planned = &self.plan.layers[index];
        let (image, layer) = (planned.image.reference.to_string(), planned.layer.descriptor.digest);
        BuildError::Source { image, layer, source }
    }

    fn layer_error(&self, index: usize, error: LayerError) -> BuildError {
        let planned = &self.plan.layers[index];
        let (image, layer) = (planned.image.reference.to_string(), planned.layer.descriptor.digest);
        match error.into_stream_error() {
            Ok(source) => self.source_error(index, source),
            Err(LayerError::Write(source)) => self.write_error(source),
            Err(error) => BuildError::Layer { image, layer, reason: error.to_string() },
        }
    }

    fn write_error(&self, source: Ext4Error) -> BuildError {
        BuildError::Write { output: self.output.to_owned(), source }
    }
}

/// A blob on its way in: counts bytes for the reporter, and stops when the build is cancelled or another layer failed.
struct Watched<'a> {
    blob: Box<dyn BufRead + Send + 'a>,
    layer: &'a Layer,
    bake: &'a Bake<'a>,
    failed: &'a AtomicBool,
}

impl io::Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bake.cancel.is_cancelled() || self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("the build was ended"));
        }
        self.blob.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.bake.reporter.read(self.layer, length as u64);
        self.blob.consume(length);
    }
}

/// Hashes what passes: the diff ID is over the whole stream, also behind the archive's end.
struct Hashed<R> {
    input: R,
    hasher: Sha256,
}

impl<R: BufRead> io::Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        // What is consumed was handed out by the last `fill_buf`, so it is still there.
        if let Ok(available) = self.input.fill_buf() {
            self.hasher.update(&available[..length]);
        }
        self.input.consume(length);
    }
}

impl<R: BufRead> Hashed<R> {
    fn finish(mut self) -> io::Result<DiffId> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(DiffId(Digest::from_sha256(self.hasher.finalize().into())));
            }
            self.consume(length);
        }
    }
}

/// Puts the layers and the disk's own files into one tree.
fn assemble(plan: &Plan<'_>, trees: Vec<Tree>, volume: &Volume) -> Result<(Tree, Digest), Ext4Error> {
    let mut finished: BTreeMap<ChainId, Tree> = BTreeMap::new();
    let mut records = Vec::new();
    let mut waiting: BTreeMap<ChainId, Tree> =
        plan.layers.iter().map(|planned| planned.layer.chain_id).zip(trees).collect();
    // A layer's number is above that of every layer below it.
    for (number, planned) in (1..).zip(&plan.layers) {
        let layer = planned.layer;
        let Some(mut tree) = waiting.remove(&layer.chain_id) else { continue };
        let below: Vec<&Tree> =
            plan.below(layer).iter().filter_map(|chain_id| finished.get(chain_id)).collect();
        inherit(&mut tree, &below);
        let listing = layout::listing_blob(listing(&tree));
        records.push(LayerRecord { chain_id: layer.chain_id, diff_id: layer.diff_id, number, listing });
        finished.insert(layer.chain_id, tree);
    }
    let mut disk = Tree::new(Attributes::plain_directory());
    for record in &records {
        if let Some(tree) = finished.remove(&record.chain_id) {
            let parent = disk.directory_at(&format!("snapshots/{}", record.number));
            disk.graft(parent, b"fs", tree);
        }
    }
    let (files, id) = layout::write(&plan.images, &records);
    let mut writer = volume.writer();
    for (path, bytes) in files {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let directory = disk.directory_at(directory);
        let mut file = crate::ext4::OpenFile::new(bytes.len() as u64);
        writer.write(&mut file, &bytes)?;
        let content = Content { size: bytes.len() as u64, extents: writer.close(file)?, hash: [0; 32] };
        let attributes = Attributes { mode: 0o644, ..Attributes::default() };
        disk.insert(directory, name.as_bytes(), attributes, Kind::File(content));
    }
    writer.finish()?;
    debug_assert!(disk.child(NodeId::ROOT, b"index.json").is_some());
    Ok((disk, id))
}
