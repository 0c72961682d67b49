//! The reference builder's checksum of a layer, which its `verify` computes again.

use md5::{Digest as _, Md5};

use crate::tree::{Content, Kind, Tree};

/// The MD5, in hexadecimal, of the sorted lines of the files' MD5s, one a name; contents alone count.
pub(crate) fn reference_checksum(tree: &Tree) -> String {
    let of_file = |kind: &Kind| match kind {
        Kind::File(Content { md5: Some(md5), .. }) => Some(hex::encode(**md5)),
        _ => None,
    };
    let mut lines: Vec<String> = tree.walk().filter_map(|visit| of_file(&visit.node.kind)).collect();
    lines.sort_unstable();
    let mut md5 = Md5::new();
    for line in lines {
        md5.update(line);
        md5.update(b"\n");
    }
    hex::encode(md5.finalize())
}
