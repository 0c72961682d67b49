//! The cache disk: tar streams become overlay layers in an ext4 file system, and are read back.
//!
//! Blocking code without a network: it asks a [`LayerSource`] for bytes and tells a [`Reporter`] what happens.

mod build;
mod ext4;
mod inflate;
mod layer;
mod layout;
mod tar;
mod tree;

pub use build::{BuildError, BuildOptions, BuildReport, Cancel, LayerSource, OutputError, Reporter, build};
pub use ext4::Ext4Error;
pub use layout::{CacheDisk, LayoutError};
