//! Proves that a cache disk is what it was when it was written: its file system, its metadata, and every byte of its layers.

mod contents;
mod layers;
mod problem;
mod structure;

use std::collections::BTreeMap;
use std::path::Path;

use larder_core::{ChainId, Digest};
use serde::Serialize;

use crate::layout::{self, LayoutError};
use crate::medium::MediumError;
use contents::{Contents, contents};
pub use problem::Problem;
use problem::{Place, Problems};

/// What the reference builder does to every disk, and nothing on the disk tells where.
const KNOWN_LOSSES: &str = "another builder made this disk, with cp: opaque directory marks, extended attributes (file \
                            capabilities among them) and hard links of its layers are lost, and it cannot be told which";

/// What was found out about a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// The disk's id; none on a disk without an OCI layout, as the reference builder makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Digest>,
    /// Images on the disk.
    pub images: usize,
    /// Layers on the disk.
    pub layers: usize,
    /// Of these, compared with their listings: every path, attribute and byte.
    pub listed: usize,
    /// Of these, compared with the md5 column: the files' contents alone.
    pub summed: usize,
    /// Files, directories and links of the layers.
    pub files: u64,
    /// Bytes of content that were read.
    pub bytes: u64,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// How many more problems there were than are told.
    pub more_problems: u64,
    /// What could not be checked, or is known to be lost.
    pub warnings: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.more_problems == 0
    }
}

/// Verifies the disk at `path`: an image, a block device, or a directory where it is mounted; `jobs` layers at the same time.
///
/// `progress` is told how many layers are done, and of how many. An error means that there is nothing that could be verified.
pub fn verify(
    path: &Path,
    jobs: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<VerifyReport, LayoutError> {
    let medium = layout::open(path)?;
    let problems = Problems::default();
    let contents = contents(&medium, &problems);
    let owners = Owners::of(&contents);
    let read = std::thread::scope(|scope| {
        let check = scope.spawn(|| structure::check(&medium, &owners, &problems));
        let read = layers::verify(&medium, &contents, &owners, &problems, jobs, progress);
        // A thread that ended otherwise has no findings; that must not pass for a good disk.
        if check.join().is_err() {
            problems.at(Place::Disk, "the check of the file system ended unexpectedly");
        }
        read
    });
    let facts = medium
        .facts()
        .map_err(|source: MediumError| LayoutError::Read { path: path.into(), source: source.into() })?;
    let mut warnings = contents.warnings;
    match facts {
        None => warnings.push("the disk is mounted: its file system itself was not checked".to_owned()),
        Some(facts) if !facts.checksums => {
            warnings.push("the file system has no metadata checksums".to_owned());
        }
        Some(_) => {}
    }
    if !contents.described {
        warnings.push(KNOWN_LOSSES.to_owned());
    }
    let (list, more_problems) = problems.into_sorted();
    Ok(VerifyReport {
        id: contents.id,
        images: contents.image_count,
        layers: contents.lines.len(),
        listed: read.listed,
        summed: read.summed,
        files: read.files,
        bytes: read.bytes,
        problems: list,
        more_problems,
        warnings,
    })
}

/// Whose a layer is, so that a problem can be told with an image's name.
struct Owners {
    images: BTreeMap<ChainId, String>,
    numbers: BTreeMap<u64, ChainId>,
}

impl Owners {
    fn of(contents: &Contents) -> Self {
        let uses =
            contents.images.iter().rev().flat_map(|image| {
                image.layers.iter().map(|layer| (layer.chain_id, image.reference.to_string()))
            });
        Self {
            images: uses.collect(),
            numbers: contents.lines.iter().map(|line| (line.number, line.chain_id)).collect(),
        }
    }

    /// A layer, or a path in it.
    fn layer(&self, layer: ChainId, path: Option<String>) -> Place {
        Place::Layer { image: self.images.get(&layer).cloned(), layer, path }
    }

    /// A path on the disk, which may be in a layer.
    fn path(&self, path: &str) -> Place {
        let within = path.strip_prefix("snapshots/").and_then(|rest| {
            let (number, rest) = rest.split_once('/')?;
            let rest = rest.strip_prefix("fs")?;
            let layer = *self.numbers.get(&number.parse().ok()?)?;
            match rest.strip_prefix('/') {
                Some(path) => Some((layer, path)),
                None => rest.is_empty().then_some((layer, ".")),
            }
        });
        match within {
            Some((layer, path)) => self.layer(layer, Some(path.to_owned())),
            None => Place::File(path.to_owned()),
        }
    }
}
