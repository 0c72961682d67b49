//! A layer: what a tar stream becomes when containerd unpacks it on the layers below.
//!
//! Follows containerd's `archive.Apply` with its overlay conversion, down to the kernel's side effects (a chown drops
//! capabilities), because the disk must hold what the node would have unpacked itself. Paths that lead out of the layer
//! are refused where containerd would bend them back.

mod apply;
mod inherit;
mod listing;
mod path;

pub(crate) use apply::{LayerError, unpack};
pub(crate) use inherit::inherit;
pub(crate) use listing::listing;
