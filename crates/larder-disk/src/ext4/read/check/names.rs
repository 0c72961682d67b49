//! Directories: every inode is named as often as it says, every directory once, and all of them hang together.

use std::collections::HashMap;

use super::Check;
use crate::ext4::read::ROOT;
use crate::ext4::read::error::Object;
use crate::ext4::read::inode::FileType;

/// A directory with so many subdirectories stops counting them (`dir_nlink`).
const UNCOUNTED: u16 = 1;

impl Check<'_> {
    pub(super) fn names(&mut self) {
        // Where each directory is, by its own `..` and by the directory that names it.
        let mut says: HashMap<u32, u32> = HashMap::new();
        let mut named: HashMap<u32, u32> = HashMap::new();
        let mut subdirectories: HashMap<u32, u32> = HashMap::new();
        for number in std::mem::take(&mut self.directories) {
            let entries = self.fs.inode(number).and_then(|inode| self.fs.entries(&inode));
            let Some(found) = self.findings.note(entries) else {
                self.unreadable.insert(number);
                continue;
            };
            says.insert(number, found.parent);
            for entry in found.entries {
                let Some(seen) = self.seen.get_mut(&entry.inode) else {
                    if !self.unreadable.contains(&entry.inode) {
                        let name = entry.name.escape_ascii();
                        let what = format!("it names {name} an inode that is not in use, {}", entry.inode);
                        self.damaged(Object::Inode(number), what);
                    }
                    continue;
                };
                seen.names = seen.names.saturating_add(1);
                let kind = seen.kind;
                if kind == FileType::Directory.in_entries() {
                    *subdirectories.entry(number).or_default() += 1;
                    named.entry(entry.inode).or_insert(number);
                }
                if entry.kind != 0 && entry.kind != kind {
                    let what = format!("it gives {} a wrong file type", entry.name.escape_ascii());
                    self.damaged(Object::Inode(number), what);
                }
            }
        }
        if self.is_complete() {
            self.links(&subdirectories);
            self.parents(&says, &named);
        }
    }

    fn links(&mut self, subdirectories: &HashMap<u32, u32>) {
        let mut seen: Vec<_> = self.seen.iter().map(|(number, seen)| (*number, *seen)).collect();
        seen.sort_unstable_by_key(|(number, _)| *number);
        for (number, seen) in seen {
            let object = Object::Inode(number);
            let directory = seen.kind == FileType::Directory.in_entries();
            let below = subdirectories.get(&number).copied().unwrap_or(0);
            let (names, links) = match (directory, number == ROOT) {
                (true, true) => (0, below.saturating_add(2)),
                (true, false) => (1, below.saturating_add(2)),
                (false, _) => (seen.names.max(1), seen.names),
            };
            if seen.names != names {
                let what = if seen.names == 0 { "it has no name" } else { "the directory has several names" };
                self.damaged(object, what);
            } else if u32::from(seen.links) != links && !(directory && seen.links == UNCOUNTED) {
                let what = format!("it counts {} links, and has {links}", seen.links);
                self.damaged(object, what);
            }
        }
    }

    /// Follows every directory up to the root.
    fn parents(&mut self, says: &HashMap<u32, u32>, named: &HashMap<u32, u32>) {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut lost: std::collections::BTreeSet<u32> = says.keys().copied().collect();
        for (directory, parent) in says {
            let expected = if *directory == ROOT { Some(&ROOT) } else { named.get(directory) };
            if expected.is_some_and(|expected| expected != parent) {
                self.damaged(
                    Object::Inode(*directory),
                    "its parent is another than the directory that names it",
                );
            }
        }
        for (directory, parent) in named {
            children.entry(*parent).or_default().push(*directory);
        }
        let mut pending = vec![ROOT];
        while let Some(directory) = pending.pop() {
            if lost.remove(&directory) {
                pending.extend(children.remove(&directory).unwrap_or_default());
            }
        }
        for directory in lost {
            self.damaged(Object::Inode(directory), "the directory cannot be reached from the root");
        }
    }
}
