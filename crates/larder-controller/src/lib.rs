//! Keeps image caches true. Watches feed an index; a pass over it is a pure function from what is wanted and seen to what is to be
//! written; a driver writes it. Pulls nothing itself: agents on the nodes do, and answer in the status of their node's set.

mod clock;
mod driver;
mod index;
mod judge;
mod metrics;
mod plan;
mod rules;

pub use clock::Clock;
pub use driver::{Controller, ControllerError, Options};
pub use index::{CacheKey, Change, Index, Keep};
pub use plan::{CacheStep, CacheWrite, NodeWrite, Plan, SetStep, SetWrite, plan};
pub use rules::{AllowedRegistry, Rules};
