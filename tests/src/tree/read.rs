//! Reads a tree from disk; never follows a link and never leaves the root.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use larder_core::Digest;
use rustix::fs::{lgetxattr, llistxattr, major, minor};

use super::{Entry, Kind, Tree};

/// The kernel's limit for a value and for a list of names, bytes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 65536;
const PERMISSIONS: u32 = 0o7777;

/// Reads the tree at `root`, its root directory included.
pub fn read(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut first_names = HashMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let place = join(root, &path);
        let entry = entry(&place).with_context(|| format!("read {}", place.display()))?;
        if entry.kind == Kind::Directory {
            pending.extend(children(&place, &path)?);
        }
        tree.insert(path, entry);
    }
    for (path, entry) in &mut tree {
        if let Some((_, name)) = &mut entry.links {
            *name = first_names.entry(std::mem::take(name)).or_insert_with(|| path.clone()).clone();
        }
    }
    Ok(tree)
}

fn join(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() { root.to_owned() } else { root.join(OsString::from_vec(path.to_vec())) }
}

fn children(place: &Path, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let list = fs::read_dir(place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let list = list.with_context(|| format!("list {}", place.display()))?;
    Ok(list
        .into_iter()
        .map(|child| {
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            [path, separator, child.file_name().as_bytes()].concat()
        })
        .collect())
}

fn entry(place: &Path) -> Result<Entry> {
    let metadata = place.symlink_metadata()?;
    let kind = kind(place, &metadata)?;
    // The inode's number stands here until all names are known.
    let links = (kind != Kind::Directory)
        .then(|| (metadata.nlink(), [metadata.dev(), metadata.ino()].map(u64::to_be_bytes).concat()));
    Ok(Entry {
        kind,
        mode: metadata.mode() & PERMISSIONS,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (metadata.mtime(), u32::try_from(metadata.mtime_nsec())?),
        xattrs: xattrs(place)?,
        links,
    })
}

fn kind(place: &Path, metadata: &Metadata) -> Result<Kind> {
    let number = (major(metadata.rdev()), minor(metadata.rdev()));
    Ok(match metadata.file_type() {
        kind if kind.is_file() => Kind::File { size: metadata.len(), digest: Digest::of(&fs::read(place)?) },
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => {
            Kind::Symlink { target: fs::read_link(place)?.into_os_string().into_vec() }
        }
        kind if kind.is_char_device() => Kind::CharDevice { number },
        kind if kind.is_block_device() => Kind::BlockDevice { number },
        kind if kind.is_fifo() => Kind::Fifo,
        kind if kind.is_socket() => Kind::Socket,
        kind => bail!("{kind:?} is of no known kind"),
    })
}

fn xattrs(place: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = Vec::with_capacity(XATTR_MAX);
    llistxattr(place, rustix::buffer::spare_capacity(&mut names))?;
    names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = Vec::with_capacity(XATTR_MAX);
            lgetxattr(place, name, rustix::buffer::spare_capacity(&mut value))
                .with_context(|| format!("attribute {}", name.escape_ascii()))?;
            Ok((name.to_vec(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hard_links_share_their_first_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("z")).unwrap();
        fs::write(at("z/file"), "x").unwrap();
        fs::hard_link(at("z/file"), at("b")).unwrap();
        fs::write(at("c"), "x").unwrap();
        symlink("/nowhere", at("d")).unwrap();
        let tree = read(dir.path()).unwrap();
        let links = |name: &[u8]| tree[name].links.clone();
        assert_eq!(links(b"b"), Some((2, b"b".to_vec())));
        assert_eq!(links(b"z/file"), Some((2, b"b".to_vec())));
        assert_eq!(links(b"c"), Some((1, b"c".to_vec())));
        assert_eq!(links(b""), None);
        assert_eq!(tree[b"d".as_slice()].kind, Kind::Symlink { target: b"/nowhere".to_vec() });
    }
}
