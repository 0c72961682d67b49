//! Judgement: what the agents' answers mean for an image, a node, a cache. Only what a runtime confirmed, and not too long ago, is warm.

mod conditions;
mod purge;
mod standing;
pub(crate) mod status;
mod tally;

pub(crate) use purge::PurgeTally;
pub(crate) use standing::{Standing, is_warm, standing};
pub(crate) use tally::Tally;
