//! Which paths of an unpacked layer have a time that its tar gives.

use std::collections::BTreeSet;

use super::entry::{Entry, Kind};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The paths, tidied, whose time the tar gives. Where that is hard to tell, a path is left out.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Of directories' headers: containerd sets their times last, on whatever has the path by then.
    directories: BTreeSet<Vec<u8>>,
    /// Of all else, while it is there.
    others: BTreeSet<Vec<u8>>,
    /// Where there was ever a symbolic link.
    links: BTreeSet<Vec<u8>>,
}

impl Names {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut names = Self::default();
        for entry in entries {
            names.take(entry);
        }
        names
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.directories.contains(path) || self.others.contains(path)
    }

    fn take(&mut self, entry: &Entry) {
        let path = tidy(&entry.path);
        let (parent, name) = split(&path);
        if name.is_empty() || name == OPAQUE {
            return;
        }
        let leads_elsewhere = self.is_below_link(&path);
        if leads_elsewhere {
            // What it replaces may be anywhere.
            self.others.clear();
        }
        if let Some(deleted) = name.strip_prefix(WHITEOUT) {
            self.forget(&[parent, deleted].concat());
        } else if matches!(entry.kind, Kind::Directory) {
            // A directory that is there already keeps what it holds.
            if self.others.contains(&path) {
                self.forget(&path);
            }
            self.directories.insert(path);
        } else {
            self.forget(&path);
            if matches!(entry.kind, Kind::Symlink(_)) {
                self.links.insert(path.clone());
            }
            if !leads_elsewhere {
                self.others.insert(path);
            }
        }
    }

    fn is_below_link(&self, path: &[u8]) -> bool {
        let mut slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        !self.links.is_empty() && slashes.any(|slash| self.links.contains(&path[..slash]))
    }

    /// Forgets what is at `path` and below.
    fn forget(&mut self, path: &[u8]) {
        self.others.remove(path);
        let [first, end] = [b"/", b"0"].map(|byte| [path, byte].concat());
        let below: Vec<Vec<u8>> = self.others.range(first..end).cloned().collect();
        for path in below {
            self.others.remove(&path);
        }
    }
}

/// The directory, with its slash, and the last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1))
}

fn tidy(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(entries: &[Entry], path: &str) -> bool {
        Names::of(entries).contains(path.as_bytes())
    }

    #[test]
    fn what_a_later_entry_replaced_is_forgotten() {
        let file = |path: &str| Entry::file(path, "");
        let replaced = [file("a/b/c"), file("a/bc"), file("./a/b"), Entry::dir("a/b"), file("a/b/c/d")];
        for (path, expected) in
            [("a/b/c", false), ("a/bc", true), ("a/b", true), ("a/b/c/d", true), ("a", false)]
        {
            assert_eq!(named(&replaced, path), expected, "{path}");
        }
        let deleted = [file("a/b"), Entry::whiteout("a/b"), file("a/b/c")];
        assert!(!named(&deleted, "a/b") && named(&deleted, "a/b/c"));
        let kept = [file("a/b"), Entry::dir("a"), Entry::opaque("a")];
        assert!(named(&kept, "a/b") && named(&kept, "a"));
    }

    #[test]
    fn what_a_directorys_header_says_counts_on_whatever_has_its_path() {
        let entries = [Entry::dir("a"), Entry::file("a", ""), Entry::whiteout("a"), Entry::file("a/b", "")];
        assert!(named(&entries, "a"));
    }

    #[test]
    fn what_goes_through_a_link_may_replace_anything() {
        let link = Entry::symlink("s", "d");
        let entries = [Entry::file("d/x", ""), link, Entry::file("s/x/y", ""), Entry::dir("d/e")];
        assert!(!named(&entries, "d/x") && !named(&entries, "s/x/y") && named(&entries, "d/e"));
    }
}
