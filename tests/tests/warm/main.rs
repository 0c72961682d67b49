//! `larder warm`, `larder status` and `larder release-caches` against a real API server. No controller runs: the tests write the
//! statuses in its place, and those of the agents.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod cluster;
mod released;
mod shown;
mod waited;
mod written;
