//! A layer copied over its link, whole: what stands on it needs the disk no longer.
//!
//! The copy grows beside the link and changes places with it in one step, so that a run that is killed leaves the one or the
//! other. Nothing is followed: the disk's links, devices and pipes are made again, never opened.

mod attributes;

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dev, FileType, Mode, RenameFlags, SeekFrom, mknodat, renameat_with, seek, syncfs};
use rustix::io::Errno;

use super::links::{NEXT, remove, sync_directory};
use super::{OverlayError, failed};

/// Puts a copy of the layer in the place of the link to it.
pub(crate) fn copy_over(link: &Path) -> Result<(), OverlayError> {
    let next = link.with_file_name(NEXT);
    remove(&next)?;
    let source = fs::read_link(link).map_err(failed("read", link))?;
    let copied = copy(&source, &next).and_then(|()| exchange(&next, link));
    // Half a copy, or the link that has been replaced.
    let cleared = remove(&next);
    copied?;
    cleared
}

fn exchange(next: &Path, link: &Path) -> Result<(), OverlayError> {
    // Contents first: the exchange must not reach the disk before them.
    let synced = File::open(next).and_then(|next| Ok(syncfs(next)?));
    synced.map_err(failed("write out", next))?;
    let exchanged = renameat_with(CWD, next, CWD, link, RenameFlags::EXCHANGE);
    exchanged.map_err(|errno| failed("replace", link)(errno.into()))?;
    sync_directory(link)
}

/// Copies the tree at `source`, a directory, to `target`, which does not exist.
fn copy(source: &Path, target: &Path) -> Result<(), OverlayError> {
    // A file with several names is copied under the first, and linked under the others.
    let mut copied: HashMap<u64, PathBuf> = HashMap::new();
    let mut directories = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let (from, to) = (at(source, &path), at(target, &path));
        let metadata = fs::symlink_metadata(&from).map_err(failed("read", &from))?;
        if metadata.is_dir() {
            fs::create_dir(&to).map_err(failed("create", &to))?;
            for entry in from.read_dir().map_err(failed("list", &from))? {
                pending.push(path.join(entry.map_err(failed("list", &from))?.file_name()));
            }
            directories.push((from, to, metadata));
            continue;
        }
        if let Some(first) = copied.get(&metadata.ino()) {
            fs::hard_link(first, &to).map_err(failed("link", &to))?;
            continue;
        }
        make(&from, &to, &metadata)?;
        attributes::copy(&from, &to, &metadata)?;
        if metadata.nlink() > 1 {
            copied.insert(metadata.ino(), to);
        }
    }
    // What is made in a directory changes its times, and what it may be to others would be in our way.
    directories.iter().rev().try_for_each(|(from, to, metadata)| attributes::copy(from, to, metadata))
}

/// Joining an empty path would add a slash.
fn at(root: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) }
}

fn make(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), OverlayError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return copy_content(from, to, metadata.len());
    }
    if kind.is_symlink() {
        let target = fs::read_link(from).map_err(failed("read", from))?;
        return symlink(target, to).map_err(failed("link", to));
    }
    let (node, number): (FileType, Dev) = match () {
        () if kind.is_char_device() => (FileType::CharacterDevice, metadata.rdev()),
        () if kind.is_block_device() => (FileType::BlockDevice, metadata.rdev()),
        () if kind.is_fifo() => (FileType::Fifo, 0),
        () => (FileType::Socket, 0),
    };
    let made = mknodat(CWD, to, node, Mode::RUSR | Mode::WUSR, number);
    made.map_err(|errno| failed("make the special file", to)(errno.into()))
}

/// Copies what is there and leaves holes as holes: a sparse file may be larger than the node's disk.
fn copy_content(from: &Path, to: &Path, length: u64) -> Result<(), OverlayError> {
    let mut source = File::open(from).map_err(failed("open", from))?;
    let mut target = File::create_new(to).map_err(failed("create", to))?;
    let mut run = || {
        target.set_len(length)?;
        let mut position = 0;
        while let Some(start) = data_from(&source, position)? {
            let end = seek(&source, SeekFrom::Hole(start))?;
            io::Seek::seek(&mut source, io::SeekFrom::Start(start))?;
            io::Seek::seek(&mut target, io::SeekFrom::Start(start))?;
            let copied = io::copy(&mut io::Read::take(&mut source, end - start), &mut target)?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            position = start + copied;
        }
        Ok(())
    };
    run().map_err(failed("copy", from))
}

/// Where the next data begins; none behind the last.
fn data_from(file: &File, position: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(position)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_the_place_of_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, layer) = (directory.path().join("disk"), directory.path().join("1"));
        fs::create_dir_all(disk.join("etc")).unwrap();
        fs::create_dir_all(layer.join(NEXT).join("half")).unwrap();
        fs::write(disk.join("etc/a"), "text").unwrap();
        fs::hard_link(disk.join("etc/a"), disk.join("b")).unwrap();
        symlink("/etc/passwd", disk.join("etc/link")).unwrap();
        File::create(disk.join("hole")).unwrap().set_len(1 << 30).unwrap();
        let link = layer.join("fs");
        symlink(&disk, &link).unwrap();
        copy_over(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_dir() && !layer.join(NEXT).exists());
        assert_eq!(fs::read(link.join("b")).unwrap(), b"text");
        let inode = |name: &str| fs::metadata(link.join(name)).unwrap().ino();
        assert_eq!(inode("b"), inode("etc/a"));
        assert_eq!(fs::read_link(link.join("etc/link")).unwrap(), Path::new("/etc/passwd"));
        let hole = fs::metadata(link.join("hole")).unwrap();
        assert_eq!((hole.len(), hole.blocks()), (1 << 30, 0));
        let time = |root: &Path| fs::metadata(root.join("etc")).unwrap().modified().unwrap();
        assert_eq!(time(&link), time(&disk));
    }

    #[test]
    fn a_copy_that_fails_leaves_the_link() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("fs");
        symlink("/nowhere/at/all", &link).unwrap();
        assert!(copy_over(&link).is_err());
        assert!(link.is_symlink() && !directory.path().join(NEXT).exists());
    }
}
