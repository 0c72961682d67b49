//! What became of each image.

use std::path::PathBuf;
use std::time::Duration;

use larder_core::{ChainId, Digest, ImageRef, Platform};

use crate::containerd::ContainerdError;
use crate::detach::DiskReport;
use crate::heal::LostDisk;
use crate::overlay::OverlayError;

/// What an attach did.
#[derive(Debug)]
pub struct AttachReport {
    /// The disk's id.
    pub disk: Digest,
    /// Where it is mounted, if any image needs it.
    pub place: PathBuf,
    /// One entry an image, in the order in which they were asked for or stand on the disk.
    pub images: Vec<AttachedImage>,
    /// Links that were led from one disk to another.
    pub moved: usize,
    /// Disks of earlier attaches that are away, and what they broke.
    pub lost: Vec<LostDisk>,
    /// Other disks that nothing is linked to any more.
    pub disks: Vec<DiskReport>,
}

impl AttachReport {
    /// Whether any image was not attached, or something on the node is still broken.
    pub fn has_failures(&self) -> bool {
        self.images.iter().any(|image| image.result.is_err()) || self.lost.iter().any(|lost| lost.layers > 0)
    }
}

/// One image's outcome.
#[derive(Debug)]
pub struct AttachedImage {
    /// Its name on the disk.
    pub image: ImageRef,
    /// What was done, or why it was not.
    pub result: Result<AttachOutcome, AttachImageError>,
}

/// How an image came to be there. In each case the runtime confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachOutcome {
    /// Something was missing, and is there now.
    Attached {
        /// Layers that were linked to the disk.
        linked: usize,
        /// Layers that the node had.
        present: usize,
    },
    /// An earlier attach had done all of it.
    AlreadyAttached,
    /// Somebody else, such as a pull, put the same image there: it is left to them.
    AlreadyPulled,
}

/// Why an image was not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachImageError {
    /// It does not run here.
    #[error("the image is for {image}, and this node is {node}")]
    Platform {
        /// The image's.
        image: Box<Platform>,
        /// The node's.
        node: Box<Platform>,
    },
    /// Somebody else's record has the name, and points elsewhere.
    #[error("{name} is {theirs} on this node, which Larder did not put there; on the disk it is {ours}")]
    NameTaken {
        /// The record's name.
        name: String,
        /// What it points to.
        theirs: String,
        /// What it would point to.
        ours: Digest,
    },
    /// A layer is linked to a disk that is away.
    #[error("layer {chain_id} is linked to {target}, which is not there")]
    Dangling {
        /// The layer.
        chain_id: ChainId,
        /// Where its link leads.
        target: PathBuf,
    },
    /// A layer could not be linked.
    #[error("cannot link layer {chain_id}")]
    Link {
        /// The layer.
        chain_id: ChainId,
        /// What is wrong.
        #[source]
        source: OverlayError,
    },
    /// A layer that was there has gone while the image was attached.
    #[error("layer {0} was removed by somebody else in the meantime: attach again")]
    LayerVanished(ChainId),
    /// The disk's own metadata has no directory for a layer.
    #[error("layer {0} is not on the disk")]
    NotOnDisk(ChainId),
    /// containerd failed.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// containerd has all of it, but CRI does not list it.
    #[error("containerd has the image, but CRI did not list {name} within {after:?}")]
    NotListed {
        /// The name that CRI was asked for.
        name: String,
        /// How long it was waited for.
        after: Duration,
    },
}
