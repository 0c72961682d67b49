//! Which files an archive holds, and where: one pass over its headers, and links followed within it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use larder_core::ByteSize;
use tar::{Entry, EntryType};

use super::ArchiveError;

/// Some 25 entries an image of each of a thousand images, several times over; it bounds the memory for names.
const MAX_ENTRIES: usize = 200_000;
/// Bytes of headers, long names among them, which are kept in memory: a kilobyte for each of those entries.
const MAX_HEADERS: u64 = 200 << 20;
/// Old archives link one layer to another; a longer chain is a loop.
const MAX_LINKS: usize = 8;

/// A part of the archive's file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) length: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    File(Span),
    /// To a path from the archive's root.
    Link(String),
}

/// The files and links of an archive by their normalised paths.
#[derive(Debug, Default)]
pub(super) struct Contents {
    items: HashMap<String, Item>,
}

impl Contents {
    /// Reads all headers of the archive at `path`, skipping what is between them.
    pub(super) fn scan(path: &Path, file: &File) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Read { path: path.to_owned(), source };
        let end = file.metadata().map_err(failed)?.len();
        let mut archive = tar::Archive::new(Headers { file, left: MAX_HEADERS });
        let mut contents = Self::default();
        for (index, entry) in archive.entries_with_seek().map_err(failed)?.enumerate() {
            let entry = entry.map_err(failed)?;
            if index == MAX_ENTRIES {
                return Err(ArchiveError::TooManyEntries { path: path.to_owned(), limit: MAX_ENTRIES });
            }
            // Skipping past the end of a file is no error to the system.
            if entry.raw_file_position().saturating_add(entry.size()) > end {
                let entry = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(ArchiveError::Truncated { path: path.to_owned(), entry });
            }
            contents.add(&entry);
        }
        Ok(contents)
    }

    fn add(&mut self, entry: &Entry<'_, impl Read>) {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let target = target.unwrap_or_default();
        let Some(name) = normalise("", &name) else { return };
        let item = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, length) = (entry.raw_file_position(), entry.size());
                Some(Item::File(Span { offset, length }))
            }
            EntryType::Symlink => normalise(parent(&name), &target).map(Item::Link),
            EntryType::Link => normalise("", &target).map(Item::Link),
            _ => None,
        };
        if let Some(item) = item {
            self.items.insert(name, item);
        }
    }

    /// Where the file `path` is, through links; none where it is missing or a link leads out of the archive.
    pub(super) fn span(&self, path: &str) -> Option<Span> {
        let mut path = normalise("", path)?;
        for _ in 0..=MAX_LINKS {
            match self.items.get(&path)? {
                Item::File(span) => return Some(*span),
                Item::Link(target) => path.clone_from(target),
            }
        }
        None
    }
}

/// An archive of which only so much may be read: what is between the headers is skipped.
struct Headers<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        let too_long = || io::Error::other(format!("its headers take more than {}", ByteSize(MAX_HEADERS)));
        self.left = self.left.checked_sub(length as u64).ok_or_else(too_long)?;
        Ok(length)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `path`, seen from the directory `base`, as a path from the archive's root; none where it is absolute or leads out.
fn normalise(base: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut components: Vec<&str> = Vec::new();
    for component in base.split('/').chain(path.split('/')) {
        match component {
            "" | "." => {}
            ".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    Some(components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_archive() {
        let table = [
            ("", "./a//b", Some("a/b")),
            ("x", "../y/layer.tar", Some("y/layer.tar")),
            ("x", "../../y", None),
            ("", "../y", None),
            ("x", "/etc/passwd", None),
        ];
        for (base, path, expected) in table {
            assert_eq!(normalise(base, path).as_deref(), expected, "{base} {path}");
        }
    }

    #[test]
    fn a_name_that_fills_the_memory_is_refused() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, header.as_bytes(), 0).unwrap();
        // A hole: it takes no space.
        file.set_len(2 << 40).unwrap();
        let error = Contents::scan(Path::new("archive"), &file).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("its headers take more than 200 MiB"), "{cause}");
    }

    #[test]
    fn links_are_followed_but_not_for_ever() {
        let span = Span { offset: 512, length: 3 };
        let items = [
            ("y/layer.tar", Item::File(span)),
            ("x/layer.tar", Item::Link("y/layer.tar".to_owned())),
            ("loop", Item::Link("loop".to_owned())),
            ("dangling", Item::Link("nothing".to_owned())),
        ];
        let items = items.into_iter().map(|(name, item)| (name.to_owned(), item)).collect();
        let contents = Contents { items };
        assert_eq!(contents.span("./x/layer.tar"), Some(span));
        for path in ["loop", "dangling", "x", "../x", "/y/layer.tar"] {
            assert_eq!(contents.span(path), None, "{path}");
        }
    }
}
