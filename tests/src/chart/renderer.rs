//! Builds render.go from Debian's packages, once a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use larder_core::Digest;

use crate::debian::{Package, Suite};
use crate::process::run_within;
use crate::{cache, go};

const SOURCE: &str = include_str!("render.go");
/// Sprig, YAML as Kubernetes reads and writes it, and what these need.
const LIBRARIES: [&str; 12] = [
    "golang-github-google-uuid-dev",
    "golang-github-huandu-xstrings-dev",
    "golang-github-imdario-mergo-dev",
    "golang-github-masterminds-goutils-dev",
    "golang-github-masterminds-semver-dev",
    "golang-github-masterminds-sprig-dev",
    "golang-github-mitchellh-copystructure-dev",
    "golang-github-mitchellh-reflectwalk-dev",
    "golang-github-shopspring-decimal-dev",
    "golang-github-spf13-cast-dev",
    "golang-golang-x-crypto-dev",
    "golang-k8s-sigs-yaml-dev",
];
/// Half a minute on an idle machine.
const BUILD: Duration = Duration::from_mins(15);

/// The program, from the cache.
pub(super) fn program() -> Result<PathBuf> {
    let name = format!("chart-renderer/{}", &Digest::of(SOURCE.as_bytes()).hex()[..16]);
    let place = cache::install(&name, |place| {
        let work = place.join("build");
        fs::create_dir(&work)?;
        let built = build(&work, &place.join("render"));
        fs::remove_dir_all(&work).context("remove what the build left")?;
        built
    })?;
    Ok(place.join("render"))
}

fn build(work: &Path, program: &Path) -> Result<()> {
    let root = work.join("go");
    go::make_root(Suite::Trixie, "1.24", &root)?;
    fs::write(work.join("render.go"), SOURCE)?;
    let library = |package: Package| package.file("usr/share/gocode");
    let libraries =
        Suite::Trixie.packages(&LIBRARIES)?.into_iter().map(library).collect::<Result<Vec<_>>>()?;
    let mut build = Command::new(root.join("bin/go"));
    build.current_dir(work).env("GOROOT", &root).env("GOPATH", std::env::join_paths(libraries)?);
    build.env("GOCACHE", work.join("cache")).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    // Debian has libraries where Go before modules looked for them.
    build.env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    build.args(["build", "-o"]).arg(program).arg("render.go");
    run_within(&mut build, BUILD).map(drop)
}
