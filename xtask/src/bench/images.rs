//! The image that is baked: eight layers of large Debian packages, once as gzip and once as zstd.

use anyhow::{Result, ensure};
use larder_core::ByteSize;
use larder_tests::debian::Suite;
use larder_tests::image::{Compression, Image, ImageBuilder, Layer, LayerBuilder, busybox, package_entries};

use crate::say;

/// A layer each: compilers, browsers, fonts, data; 2.5 GB with 60,000 files.
const LAYERS: [&[&str]; 8] = [
    &["texlive-fonts-extra"],
    &["golang-1.19-src", "golang-1.19-go"],
    &["llvm-14-dev", "libllvm14"],
    &["openjdk-17-jre-headless", "openjdk-17-jdk-headless"],
    &["chromium"],
    &["firefox-esr"],
    &["libreoffice-core", "libreoffice-common"],
    &["gcc-12", "cpp-12", "libstd-rust-1.63", "libstd-rust-dev"],
];

/// Below this an image says little about a long bake.
const LEAST: u64 = 2_000_000_000;

/// The image with its layers compressed as asked.
pub(super) fn image(compression: Compression) -> Result<Image> {
    say(format_args!("making the {compression:?} image"));
    let base = busybox()?.build(compression)?;
    let made: Result<Vec<Layer>> = std::thread::scope(|scope| {
        let (even, odd): (Vec<_>, Vec<_>) = LAYERS.iter().enumerate().partition(|(place, _)| place % 2 == 0);
        let make = |part: Vec<(usize, &&[&str])>| -> Result<Vec<(usize, Layer)>> {
            part.into_iter().map(|(place, packages)| Ok((place, layer(packages, compression)?))).collect()
        };
        let other = scope.spawn(move || make(odd));
        let mut layers = make(even)?;
        layers.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        layers.sort_by_key(|(place, _)| *place);
        Ok(layers.into_iter().map(|(_, layer)| layer).collect())
    });
    let made = made?;
    let bytes: u64 = made.iter().map(|layer| layer.tar_size).sum();
    ensure!(bytes >= LEAST, "the image has only {}", ByteSize(bytes));
    Ok(ImageBuilder::default().layer(&base).layers(&made).cmd(&["/bin/busybox", "true"]).build())
}

fn layer(packages: &[&str], compression: Compression) -> Result<Layer> {
    let packages = Suite::Bookworm.packages(packages)?;
    let mut builder = LayerBuilder::default();
    for package in &packages {
        builder = builder.entries(package_entries(package)?);
    }
    builder.build(compression)
}
