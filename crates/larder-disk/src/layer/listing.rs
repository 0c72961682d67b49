//! The listing of a layer: a line for every path, from which `larder verify` proves the layer later.
//!
//! Lines are in the byte order of the paths' components; fields are separated by tabs:
//! `PATH TYPE MODE UID:GID MTIME XATTRS REST`. REST is a file's size and BLAKE3 hash, a link's target, or a device's number.
//! Bytes other than printable ASCII, and the backslash, are written `\xHH`; a lone `-` says that there is nothing.

use std::collections::HashMap;
use std::io::Write as _;

use crate::ext4;
use crate::tree::{Attributes, Kind, NodeId, Tree};

/// The first line, so that a later form can be told from this one.
pub(super) const HEADER: &str = "larder-listing 1\n";

/// The listing of `tree`.
pub(crate) fn listing(tree: &Tree) -> Vec<u8> {
    let mut text = HEADER.as_bytes().to_vec();
    let mut first_names: HashMap<NodeId, Vec<u8>> = HashMap::new();
    for visit in tree.walk() {
        let path = if visit.path.is_empty() { b"." } else { visit.path.as_slice() };
        escape(&mut text, path);
        if let Some(first) = first_names.get(&visit.id) {
            text.extend(b"\thard-link\t");
            escape(&mut text, first);
            text.push(b'\n');
            continue;
        }
        if visit.node.links > 1 && visit.node.directory().is_none() {
            first_names.insert(visit.id, path.to_vec());
        }
        line(&mut text, &visit.node.attributes, &visit.node.kind);
    }
    text
}

fn line(text: &mut Vec<u8>, attributes: &Attributes, kind: &Kind) {
    let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    let (seconds, nanoseconds) = (mtime.seconds, mtime.nanoseconds);
    let name = match kind {
        Kind::Directory(_) => "directory",
        Kind::File(_) => "file",
        Kind::Symlink(_) => "symlink",
        Kind::CharacterDevice { .. } => "character",
        Kind::BlockDevice { .. } => "block",
        Kind::Fifo => "fifo",
    };
    // Writing to a vector cannot fail.
    let _infallible = write!(text, "\t{name}\t{mode:04o}\t{uid}:{gid}\t{seconds}.{nanoseconds:09}\t");
    match xattrs.as_ref().filter(|xattrs| !xattrs.is_empty()) {
        None => text.push(b'-'),
        Some(xattrs) => {
            for (position, (name, value)) in xattrs.iter().enumerate() {
                text.extend(if position > 0 { &b","[..] } else { b"" });
                escape(text, name);
                text.push(b'=');
                // An access control list follows the mode; the listing is of what the disk keeps.
                let kept = ext4::acl_as_kept(name, value, *mode);
                text.extend(hex::encode(kept.as_ref().unwrap_or(value)).bytes());
            }
        }
    }
    text.push(b'\t');
    match kind {
        Kind::File(content) => {
            let _infallible = write!(text, "{} {}", content.size, hex::encode(content.hash));
        }
        Kind::Symlink(target) => escape(text, target),
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            let _infallible = write!(text, "{major}:{minor}");
        }
        Kind::Directory(_) | Kind::Fifo => text.push(b'-'),
    }
    text.push(b'\n');
}

fn escape(text: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' | 0..=b' ' | 0x7f.. => {
                let _infallible = write!(text, "\\x{byte:02x}");
            }
            plain => text.push(*plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    #[test]
    fn every_attribute_has_its_place() {
        let mut tree = Tree::new(Attributes::plain_directory());
        let mut attributes = Attributes { mode: 0o4755, uid: 1, gid: 2, ..Attributes::default() };
        attributes.set_xattr(b"user.k", b"\x01v");
        let content = Content { size: 3, hash: [0xab; 32], ..Content::default() };
        let file = tree.insert(NodeId::ROOT, b"a b\\\xff", attributes, Kind::File(content));
        tree.link(NodeId::ROOT, b"z", file);
        tree.insert(NodeId::ROOT, b"s", Attributes::default(), Kind::Symlink(b"/x"[..].into()));
        tree.insert(NodeId::ROOT, b"c", Attributes::default(), Kind::CharacterDevice { major: 0, minor: 0 });
        let expected = format!(
            "larder-listing 1\n\
             .\tdirectory\t0755\t0:0\t0.000000000\t-\t-\n\
             a\\x20b\\x5c\\xff\tfile\t4755\t1:2\t0.000000000\tuser.k=0176\t3 {}\n\
             c\tcharacter\t0000\t0:0\t0.000000000\t-\t0:0\n\
             s\tsymlink\t0000\t0:0\t0.000000000\t-\t/x\n\
             z\thard-link\ta\\x20b\\x5c\\xff\n",
            "ab".repeat(32)
        );
        assert_eq!(String::from_utf8(listing(&tree)).unwrap(), expected);
    }
}
