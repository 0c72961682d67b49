//! What every part of Larder names: image references, digests, platforms, sizes, lengths of time, and an image with its layers.
//! Pure data and pure functions: no I/O, no async, no Kubernetes.

mod digest;
mod go_duration;
mod image;
pub mod media_type;
mod platform;
mod reference;
mod size;

pub use digest::{ChainId, DiffId, Digest, DigestError};
pub use go_duration::{GoDurationError, parse_go_duration};
pub use image::{
    Blob, Descriptor, Image, ImageConfig, ImageError, Index, IndexEntry, Layer, Manifest, RootFs,
};
pub use platform::{Platform, PlatformError};
pub use reference::{ImageRef, ReferenceError};
pub use size::{ByteSize, ByteSizeError};
