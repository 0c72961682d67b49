//! The cache disk: tar streams become overlay layers in an ext4 file system, and are read back.
//!
//! Blocking code without a network: it asks a [`LayerSource`] for bytes and tells a [`Reporter`] what happens.

mod build;
mod diff;
mod ext4;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fuzz;
mod inflate;
mod inspect;
mod layer;
mod layout;
mod medium;
mod sweep;
mod tar;
mod tree;
mod verify;

pub use build::{
    BuildError, BuildOptions, BuildPlan, BuildReport, Cancel, LayerSource, MAX_LAYER_SIZE, MAX_LAYERS,
    OutputError, PlannedLayer, Reporter, build, plan,
};
pub use diff::{Amount, Change, DiskDiff, ImageDiff, LayerDiff, diff};
pub use ext4::Ext4Error;
pub use ext4::read::{Object, ReadError};
pub use inspect::{
    FileSystemFacts, ImageContents, InspectedImage, InspectedLayer, Inspection, Sharing, inspect,
};
pub use layout::{CacheDisk, LayoutError};
pub use medium::MediumError;
pub use sweep::{Sweep, SweepError};
pub use verify::{Problem, VerifyReport, verify};
