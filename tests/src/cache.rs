//! Where the lab keeps what it installs: once a machine, shared by parallel processes, never half-made.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The lab's cache directory: `$LARDER_CACHE`, else `$XDG_CACHE_HOME/larder`, else `~/.cache/larder`.
pub fn dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("LARDER_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("larder")))
        .or_else(|| Some(set("HOME")?.join(".cache/larder")))
        .context("no place for the lab's cache: set LARDER_CACHE, XDG_CACHE_HOME or HOME")
}

/// Holds `name` (a path below the cache) against every other process until the returned file is dropped.
pub fn lock(name: &str) -> Result<File> {
    let path = dir()?.join(format!("{name}.lock"));
    create_parent(&path)?;
    let file = File::create(&path).with_context(|| format!("open lock {}", path.display()))?;
    file.lock().with_context(|| format!("wait for lock {}", path.display()))?;
    Ok(file)
}

/// The directory `name` (a path below the cache); made by `fill` in a temporary place if it is not there yet.
pub fn install(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = dir()?.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let _held = lock(name)?;
    if place.is_dir() {
        return Ok(place);
    }
    put(&place, fill).with_context(|| format!("install {}", place.display()))?;
    Ok(place)
}

fn put(place: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = place.parent().context("a place in the cache has a parent")?;
    let staging = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    let made = staging.path().join("made");
    fs::create_dir(&made)?;
    fill(&made)?;
    // Without this a power cut after the rename could leave a directory of empty files.
    rustix::fs::syncfs(File::open(&made)?)?;
    fs::rename(&made, place)?;
    Ok(())
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a place in the cache has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))
}
