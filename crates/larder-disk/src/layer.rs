//! A layer: what a tar stream becomes when containerd unpacks it on the layers below.
//!
//! Follows containerd's `archive.Apply` with its overlay conversion, down to the kernel's side effects (a chown drops
//! capabilities), because the disk must hold what the node would have unpacked itself. Paths that lead out of the layer
//! are refused where containerd would bend them back.

mod apply;
mod attributes;
mod compare;
mod hole;
mod inherit;
mod listing;
mod md5;
mod path;

pub(crate) use apply::{LayerError, unpack};
pub(crate) use compare::differences;
pub(crate) use inherit::inherit;
pub(crate) use listing::listing;
pub(crate) use md5::reference_checksum;

/// A path or a name of an archive, as far as an error message should show it.
fn shown(bytes: &[u8]) -> String {
    /// Characters; enough for any honest path, and for one line.
    const MAX_SHOWN: usize = 200;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_SHOWN)]);
    let mut shown: String = text.escape_debug().take(MAX_SHOWN).collect();
    if text.escape_debug().nth(MAX_SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}
