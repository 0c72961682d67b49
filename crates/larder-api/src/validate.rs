//! A cache's spec, checked: the same rules as the schema's, for servers and objects that the schema does not guard, and those
//! that a schema cannot express. Controllers work with the checked value alone.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use larder_core::{GoDurationError, ImageRef, ReferenceError, parse_go_duration};

use crate::{CacheList, ImageCacheSpec, NodeSelector, PullBy, PullPolicy, SelectorError};

/// A spec that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCache {
    /// Its lists, in order.
    pub lists: Vec<ValidList>,
    /// Names of Secrets in the cache's namespace.
    pub pull_secrets: Vec<String>,
    /// Who pulls.
    pub pull_by: PullBy,
    /// How long one pull may take.
    pub deadline: Option<Duration>,
    /// How many nodes pull at a time.
    pub max_parallel_nodes: Option<MaxNodes>,
    /// How many pulls from a registry are under way at a time.
    pub max_pulls_per_registry: Option<NonZeroU32>,
    /// Whether images are pinned.
    pub pin: bool,
    /// Whether what is there is pulled again.
    pub pull_policy: PullPolicy,
    /// For Jobs; none stands for all taints.
    pub tolerations: Vec<Toleration>,
    /// For Jobs.
    pub priority_class_name: Option<String>,
}

/// One list of a valid spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidList {
    /// Each as it was written, and normalised.
    pub images: Vec<(String, ImageRef)>,
    /// The nodes.
    pub nodes: NodeSelector,
}

/// A limit on nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxNodes {
    /// So many.
    Count(NonZeroU32),
    /// So many of a hundred, 1 to 100.
    Percent(u8),
}

impl MaxNodes {
    /// Of `nodes`; a share is rounded up, so that it is never none.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count.get()).unwrap_or(usize::MAX),
            Self::Percent(percent) => (nodes * usize::from(percent)).div_ceil(100),
        }
    }

    fn parse(value: &IntOrString) -> Option<Self> {
        match value {
            IntOrString::Int(count) => u32::try_from(*count).ok().and_then(NonZeroU32::new).map(Self::Count),
            IntOrString::String(text) => {
                let digits = text
                    .strip_suffix('%')
                    .filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))?;
                digits.parse().ok().filter(|percent| (1..=100).contains(percent)).map(Self::Percent)
            }
        }
    }
}

/// The first rule that a spec breaks.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// There is no list.
    #[error("cacheSpec has no list of images")]
    NoLists,
    /// A list is empty; the releases' words.
    #[error("No images specified within image list")]
    NoImages,
    /// The releases' words.
    #[error("Duplicate image names within image list: {0}")]
    Duplicate(String),
    /// Not a reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Not a selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Not a length of time.
    #[error("deadline {text:?}: {source}")]
    Deadline {
        /// What stands there.
        text: String,
        /// Why.
        source: GoDurationError,
    },
    /// No time at all.
    #[error("deadline must be more than 0s")]
    NoTime,
    /// Not a limit.
    #[error("maxParallelNodes must be 1 or more, or 1% to 100%")]
    MaxNodes,
    /// Not a limit.
    #[error("maxPullsPerRegistry must be 1 or more")]
    MaxPulls,
    /// Jobs pin nothing.
    #[error("pin needs the runtime's socket: pullBy must be Agent")]
    PinByJob,
}

/// Checks a spec.
pub fn validate(spec: &ImageCacheSpec) -> Result<ValidCache, Invalid> {
    let ImageCacheSpec {
        cache_spec,
        image_pull_secrets,
        pull_by,
        deadline,
        max_parallel_nodes,
        max_pulls_per_registry,
        pin,
        pull_policy,
        tolerations,
        priority_class_name,
    } = spec;
    let (pull_by, pin) = (pull_by.unwrap_or_default(), pin.unwrap_or_default());
    if cache_spec.is_empty() {
        return Err(Invalid::NoLists);
    }
    if pin && pull_by == PullBy::Job {
        return Err(Invalid::PinByJob);
    }
    Ok(ValidCache {
        lists: cache_spec.iter().map(valid_list).collect::<Result<_, _>>()?,
        pull_secrets: image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
        pull_by,
        deadline: deadline.as_deref().map(valid_deadline).transpose()?,
        max_parallel_nodes: max_parallel_nodes
            .as_ref()
            .map(|value| MaxNodes::parse(value).ok_or(Invalid::MaxNodes))
            .transpose()?,
        max_pulls_per_registry: max_pulls_per_registry
            .map(|count| u32::try_from(count).ok().and_then(NonZeroU32::new).ok_or(Invalid::MaxPulls))
            .transpose()?,
        pin,
        pull_policy: pull_policy.unwrap_or_default(),
        tolerations: tolerations.clone(),
        priority_class_name: priority_class_name.clone(),
    })
}

fn valid_list(list: &CacheList) -> Result<ValidList, Invalid> {
    if list.images.is_empty() {
        return Err(Invalid::NoImages);
    }
    let mut seen = BTreeSet::new();
    let mut images = Vec::with_capacity(list.images.len());
    for text in &list.images {
        if !seen.insert(text) {
            return Err(Invalid::Duplicate(text.clone()));
        }
        images.push((text.clone(), text.parse()?));
    }
    Ok(ValidList { images, nodes: NodeSelector::parse(list.node_selector.as_ref())? })
}

fn valid_deadline(text: &str) -> Result<Duration, Invalid> {
    match parse_go_duration(text) {
        Ok(Duration::ZERO) => Err(Invalid::NoTime),
        Ok(deadline) => Ok(deadline),
        Err(source) => Err(Invalid::Deadline { text: text.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
