//! The Kubernetes contract: what users declare (`ImageCache`), what each node should hold and holds (`NodeImageSet`), and the
//! names that both sides agree on. Types and pure functions: no client, no I/O.

mod conditions;
mod crd;
mod image_cache;
pub mod names;
mod node_image_set;
mod selector;
mod validate;

pub use conditions::{ConditionType, Truth, set_condition};
pub use crd::{custom_resource_definitions, without_validation_rules};
pub use image_cache::{
    CacheList, CacheReason, CacheStatus, Failure, ImageCache, ImageCacheSpec, ImageCacheStatus, KeptImage,
    NodeCounts, PullBy, PullPolicy, Refresh, SecretName,
};
pub use node_image_set::{
    ImagePhase, ImageReason, ImageSeen, ImageWanted, MAX_IMAGES, MAX_MESSAGE, NodeImageSet, NodeImageSetSpec,
    NodeImageSetStatus, SecretRef, Source,
};
pub use selector::{NodeSelector, SelectorError};
pub use validate::{Invalid, MaxNodes, ValidCache, ValidList, validate};

/// The group of both kinds.
pub const GROUP: &str = "kubefledged.io";
/// The version of both kinds.
pub const VERSION: &str = "v1alpha2";
