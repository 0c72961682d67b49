//! What is said of a node.

use std::fmt;
use std::path::PathBuf;

use larder_core::{ChainId, Digest};
use serde::Serialize;

use crate::hydrate::Hydration;

/// A node's disks and images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// containerd's version.
    pub containerd: String,
    /// What attached images cannot do on this node, in words.
    pub limits: Vec<String>,
    /// Every disk that has a place on this node.
    pub disks: Vec<DiskStatus>,
    /// By name.
    pub images: Vec<ImageStatus>,
}

impl NodeStatus {
    /// Whether every disk is there, and every image is warm that a disk has to do with.
    pub fn is_warm(&self) -> bool {
        let mut of_disks = self.images.iter().filter(|image| image.origin != Origin::Runtime);
        of_disks.all(ImageStatus::is_warm) && self.disks.iter().all(|disk| disk.fault.is_none())
    }
}

/// A disk that has a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// The digest of its `index.json`.
    pub disk: Digest,
    /// Where it is mounted, or should be.
    pub place: PathBuf,
    /// Why it is of no use; none where it is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<DiskFault>,
    /// How far `--hydrate` is, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hydration: Option<Hydration>,
}

/// Why a disk is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum DiskFault {
    /// Nothing is mounted at its place.
    NotMounted,
    /// What is mounted there cannot be read as a cache disk.
    Unreadable {
        /// What is wrong, with its causes.
        message: String,
    },
    /// It is mounted, but the kernel no longer has its device: what can still be read comes from memory.
    DeviceGone,
    /// Another disk is mounted there.
    Other {
        /// That disk.
        found: Digest,
    },
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted => f.write_str("not mounted"),
            Self::Unreadable { message } => f.write_str(message),
            Self::DeviceGone => f.write_str("mounted, but its device is gone"),
            Self::Other { found } => write!(f, "disk {found} is mounted in its place"),
        }
    }
}

/// An image, and what keeps it from being warm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// The name by which pods ask for it.
    pub name: String,
    /// How it came to be on this node.
    pub origin: Origin,
    /// The disk that it is on, or was attached from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Digest>,
    /// Whether kubelet's garbage collection leaves it.
    pub pinned: bool,
    /// Its layers, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Of these, links to a disk.
    pub linked: usize,
    /// Why it is not warm; empty when it is.
    pub reasons: Vec<Cold>,
}

impl ImageStatus {
    /// Whether a pod would start from it at once.
    pub fn is_warm(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// How an image came to be on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// It is on a disk, and its name is Larder's record or nobody's.
    Disk,
    /// Somebody else, such as a pull, has put it there; it is on a disk too, or builds on an attached layer.
    Others,
    /// The runtime has it, and no disk has to do with it.
    Runtime,
}

/// Why an image is not warm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Cold {
    /// Its layers are links to a disk that is not there, or of no use.
    DiskAway {
        /// The disk.
        disk: Digest,
    },
    /// containerd has no record of its name: never attached, withdrawn, or removed.
    NoRecord,
    /// Its name leads to something else than on the disk.
    OtherContent {
        /// What the name leads to.
        found: String,
        /// What it leads to on the disk.
        wanted: Digest,
    },
    /// Its index, manifest or configuration is gone.
    BlobsMissing {
        /// Those.
        blobs: Vec<Digest>,
    },
    /// containerd has no snapshot of some layers.
    LayersMissing {
        /// Those.
        layers: Vec<ChainId>,
    },
    /// Attached layers have lost their links.
    LinksMissing {
        /// Those.
        layers: Vec<ChainId>,
    },
    /// Layers are links that lead nowhere.
    LinksDangling {
        /// Those.
        layers: Vec<ChainId>,
        /// Where the first of them leads.
        target: PathBuf,
    },
    /// containerd has the record, but the kubelet would be told that the image is not there.
    NotInCri,
    /// The kubelet would get another image.
    OtherInCri {
        /// The configuration of that one.
        found: Digest,
    },
}

impl fmt::Display for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskAway { disk } => write!(f, "disk {disk} is not there"),
            Self::NoRecord => f.write_str("containerd has no record of it"),
            Self::OtherContent { found, wanted } => {
                write!(f, "the name leads to {found}, and on the disk to {wanted}")
            }
            Self::BlobsMissing { blobs } => write!(f, "blob missing: {}", first_of(blobs)),
            Self::LayersMissing { layers } => write!(f, "layer missing: {}", first_of(layers)),
            Self::LinksMissing { layers } => write!(f, "link of a layer missing: {}", first_of(layers)),
            Self::LinksDangling { layers, target } => {
                write!(f, "link of a layer dangling: {}, to {}", first_of(layers), target.display())
            }
            Self::NotInCri => f.write_str("CRI does not list it"),
            Self::OtherInCri { found } => write!(f, "CRI has another image by this name: {found}"),
        }
    }
}

/// One, and how many more.
fn first_of<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cold_image_and_a_disk_with_a_fault_count_and_what_is_the_runtimes_does_not() {
        let image = |origin, reasons| ImageStatus {
            name: "a:1".to_owned(),
            origin,
            disk: None,
            pinned: false,
            layers: None,
            linked: 0,
            reasons,
        };
        let disk =
            |fault| DiskStatus { disk: Digest::of(b"disk"), place: "/disk".into(), fault, hydration: None };
        let table = [
            (image(Origin::Disk, vec![]), disk(None), true),
            (image(Origin::Disk, vec![Cold::NotInCri]), disk(None), false),
            (image(Origin::Others, vec![Cold::NotInCri]), disk(None), false),
            (image(Origin::Runtime, vec![Cold::NotInCri]), disk(None), true),
            (image(Origin::Disk, vec![]), disk(Some(DiskFault::NotMounted)), false),
        ];
        for (image, disk, warm) in table {
            let (images, disks) = (vec![image], vec![disk]);
            let status = NodeStatus { containerd: "2.1.9".to_owned(), limits: Vec::new(), disks, images };
            assert_eq!(status.is_warm(), warm, "{status:?}");
        }
    }
}
