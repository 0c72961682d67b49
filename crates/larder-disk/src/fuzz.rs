//! The fuzz targets: every reader of foreign bytes. A short run of each is part of the tests; `cargo xtask fuzz` runs longer.

mod disk;
mod documents;
mod inflate;
mod layer;

/// Where the inputs are that are tried in every run: `TARGET/`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
