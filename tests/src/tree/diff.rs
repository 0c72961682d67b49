//! Compares two trees, and says every difference in a line of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use super::{Entry, Tree};

/// What `left` and `right` differ in, one line each: the path, the attribute, both values. The times of the paths that
/// `ignore_times_of` picks are not compared: a tar says nothing about the directories that it leaves out.
pub fn diff(left: &Tree, right: &Tree, ignore_times_of: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let paths: BTreeSet<&Vec<u8>> = left.keys().chain(right.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let name = format!("/{}", path.escape_ascii());
        match (left.get(path), right.get(path)) {
            (Some(left), Some(right)) => entries(&name, left, right, ignore_times_of(path), &mut lines),
            (Some(left), None) => lines.push(format!("{name}: only left: {:?}", left.kind)),
            (None, Some(right)) => lines.push(format!("{name}: only right: {:?}", right.kind)),
            (None, None) => {}
        }
    }
    lines
}

fn entries(name: &str, left: &Entry, right: &Entry, ignore_time: bool, lines: &mut Vec<String>) {
    let Entry { kind, mode, uid, gid, mtime, xattrs, links } = left;
    let mut compare = |what: &str, left: String, right: String| {
        if left != right {
            lines.push(format!("{name}: {what}: {left} != {right}"));
        }
    };
    compare("kind", text(kind), text(&right.kind));
    compare("mode", format!("{mode:04o}"), format!("{:04o}", right.mode));
    compare("owner", format!("{uid}:{gid}"), format!("{}:{}", right.uid, right.gid));
    compare("xattrs", attributes(xattrs), attributes(&right.xattrs));
    compare("links", shared(links.as_ref()), shared(right.links.as_ref()));
    if !ignore_time {
        compare("mtime", time(*mtime), time(right.mtime));
    }
}

fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

fn time((seconds, nanoseconds): (i64, u32)) -> String {
    format!("{seconds}.{nanoseconds:09}")
}

fn attributes(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let each = xattrs.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()));
    format!("[{}]", each.collect::<Vec<_>>().join(", "))
}

fn shared(links: Option<&(u64, Vec<u8>)>) -> String {
    links.map_or_else(String::new, |(count, first)| format!("{count} with /{}", first.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use larder_core::Digest;

    use super::super::Kind;
    use super::*;

    fn file(content: &[u8]) -> Entry {
        Entry {
            kind: Kind::File { size: content.len() as u64, digest: Digest::of(content) },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (1, 2),
            xattrs: BTreeMap::new(),
            links: Some((1, b"a".to_vec())),
        }
    }

    fn tree(entry: Entry) -> Tree {
        Tree::from([(b"a".to_vec(), entry)])
    }

    #[test]
    fn every_attribute_is_compared() {
        let plain = file(b"x");
        let xattrs = BTreeMap::from([(b"user.k".to_vec(), b"\xff".to_vec())]);
        let others = [
            (Entry { mode: 0o4644, ..plain.clone() }, "/a: mode: 0644 != 4644"),
            (Entry { gid: 7, ..plain.clone() }, "/a: owner: 0:0 != 0:7"),
            (Entry { uid: 7, ..plain.clone() }, "/a: owner: 0:0 != 7:0"),
            (Entry { mtime: (1, 3), ..plain.clone() }, "/a: mtime: 1.000000002 != 1.000000003"),
            (Entry { xattrs, ..plain.clone() }, "/a: xattrs: [] != [user.k=\\xff]"),
            (Entry { links: Some((2, b"b".to_vec())), ..plain.clone() }, "/a: links: 1 with /a != 2 with /b"),
        ];
        for (other, line) in others {
            assert_eq!(diff(&tree(plain.clone()), &tree(other), |_| false), [line]);
        }
        assert_eq!(diff(&tree(plain.clone()), &tree(file(b"y")), |_| false).len(), 1);
        assert_eq!(diff(&tree(plain.clone()), &tree(plain), |_| false), [""; 0]);
    }

    #[test]
    fn an_entry_on_one_side_is_a_difference_and_an_ignored_time_is_none() {
        let later = Entry { mtime: (9, 9), ..file(b"x") };
        assert_eq!(diff(&tree(file(b"x")), &tree(later), |path| path == b"a"), [""; 0]);
        assert!(diff(&tree(file(b"")), &Tree::new(), |_| false)[0].starts_with("/a: only left: File"));
        assert!(diff(&Tree::new(), &tree(file(b"")), |_| false)[0].starts_with("/a: only right: File"));
    }
}
