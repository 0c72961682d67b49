//! What became of each image and disk.

use std::fmt;
use std::path::PathBuf;

use larder_core::Digest;

use crate::containerd::ContainerdError;

/// What a detach did; empty where nothing was attached.
#[derive(Debug, Default)]
pub struct DetachReport {
    /// One entry an image, by name.
    pub images: Vec<DetachedImage>,
    /// One entry a disk that had a place.
    pub disks: Vec<DiskReport>,
    /// Layers that were copied from a disk, for others need them.
    pub copied: usize,
    /// Whether all images were to go, and so the disks.
    pub all: bool,
}

impl DetachReport {
    /// Whether anything that was asked for was not done: an image stayed, or a disk whose images were all to go.
    pub fn has_failures(&self) -> bool {
        let kept = |disk: &DiskReport| !matches!(disk.outcome, DiskOutcome::Released);
        self.images.iter().any(|image| image.result.is_err()) || (self.all && self.disks.iter().any(kept))
    }
}

/// One image's outcome.
#[derive(Debug)]
pub struct DetachedImage {
    /// Its name in containerd.
    pub name: String,
    /// What was done, or why it was not.
    pub result: Result<DetachOutcome, DetachImageError>,
}

/// How an image left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachOutcome {
    /// Its records are gone, and so are the links that no other image needs.
    Detached {
        /// Links that are gone.
        layers: usize,
    },
    /// Larder has not attached it.
    NotAttached,
}

/// Why an image was not detached.
#[derive(Debug, thiserror::Error)]
pub enum DetachImageError {
    /// Left untouched.
    #[error("in use by {}", list(by))]
    InUse {
        /// What uses it.
        by: Vec<Use>,
    },
    /// Its records are gone, but something that was not seen before holds its layers.
    #[error("its records are gone, but containerd keeps {} linked: {}", count(layers), layers.join(", "))]
    StillThere {
        /// Chain IDs.
        layers: Vec<String>,
    },
    /// containerd failed half-way: detach again.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
}

/// What uses a layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// A container, running or not.
    Container {
        /// Its id.
        id: String,
        /// `namespace/pod/container`, where Kubernetes made it.
        pod: Option<String>,
    },
    /// An image. Where the question is why an image stays: one that Larder did not attach.
    Image(String),
    /// A snapshot that neither a container nor an image names.
    Snapshot(String),
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { id, pod: None } => write!(f, "container {id}"),
            Self::Container { id, pod: Some(pod) } => write!(f, "container {id} ({pod})"),
            Self::Image(name) => write!(f, "image {name}"),
            Self::Snapshot(key) => write!(f, "snapshot {key:?}"),
        }
    }
}

fn list(uses: &[Use]) -> String {
    uses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn count(layers: &[String]) -> String {
    if layers.len() == 1 { "1 layer".to_owned() } else { format!("{} layers", layers.len()) }
}

/// What became of a disk.
#[derive(Debug)]
pub struct DiskReport {
    /// Its id.
    pub disk: Digest,
    /// Whether it is still mounted.
    pub outcome: DiskOutcome,
}

/// Whether a disk is still mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOutcome {
    /// Unmounted: no layer is linked to it any more, and nothing reads it.
    Released,
    /// Unmounted, but containers that were started from it still read it: the device must stay until they have ended.
    Busy {
        /// The device.
        device: PathBuf,
    },
    /// Still mounted.
    Kept {
        /// Layers that are linked to it, in any namespace.
        layers: usize,
        /// What holds them in this namespace, attached images included.
        by: Vec<Use>,
    },
}
