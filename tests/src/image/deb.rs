//! Unpacked Debian packages as layer entries.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::entry::Entry;
use crate::debian::Package;

/// The files of `package`, owned by root, sorted by path.
pub fn package_entries(package: &Package) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    collect(&package.root, &package.root, &mut entries)
        .with_context(|| format!("read package {}", package.name))?;
    Ok(entries)
}

fn collect(root: &Path, dir: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    let mut children = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        entries.push(entry(root, &child.path())?);
        if child.file_type()?.is_dir() {
            collect(root, &child.path(), entries)?;
        }
    }
    Ok(())
}

fn entry(root: &Path, place: &Path) -> Result<Entry> {
    let metadata = place.symlink_metadata()?;
    let path = place.strip_prefix(root)?.as_os_str().as_bytes();
    let entry = match metadata.file_type() {
        kind if kind.is_dir() => Entry::dir(path),
        kind if kind.is_file() => Entry::file_from(path, place.to_owned(), metadata.len()),
        kind if kind.is_symlink() => Entry::symlink(path, fs::read_link(place)?.into_os_string().into_vec()),
        kind => bail!("{} is {kind:?}, which no package contains", place.display()),
    };
    Ok(entry.mode(metadata.mode() & 0o7777).mtime(metadata.mtime(), 0))
}
