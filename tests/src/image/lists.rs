//! Access control lists, and an image whose layers inherit, change and remove them.

use anyhow::Result;

use super::{Compression, Entry, Image, ImageBuilder, LayerBuilder};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// An access control list as the kernel takes it, of tags and permissions; who has a name is user 1000.
pub fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
    let entry = |(tag, permissions): &(u16, u16)| {
        let id: u32 = if *tag == 2 { 1000 } else { u32::MAX };
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
}

/// One that names somebody.
fn full() -> Vec<u8> {
    acl(&[(1, 7), (2, 6), (4, 5), (0x10, 7), (0x20, 1)])
}

/// One that says no more than a mode.
fn minimal() -> Vec<u8> {
    acl(&[(1, 7), (4, 5), (0x20, 0)])
}

/// Two layers: directories with lists, and what becomes of them above.
pub fn access_lists() -> Result<Image> {
    let layers = [lower(), upper()].map(|layer| layer.build(Compression::Gzip));
    let layers = layers.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(ImageBuilder::default().layers(&layers).build())
}

fn lower() -> LayerBuilder {
    let names = ["implied", "plain", "removed", "removed-twice", "kept-first", "both", "first"];
    let listed = names.map(|name| Entry::dir(name).mode(0o750).xattr(ACCESS, full()));
    LayerBuilder::default().entries(listed).entry(Entry::dir("both").mode(0o750).xattr(DEFAULT, full()))
}

fn upper() -> LayerBuilder {
    let described = |name: &str| Entry::dir(name).mode(0o700);
    let names = ["implied", "plain", "removed", "removed-twice", "kept-first"];
    LayerBuilder::default()
        // A mark makes nothing in the directory, which would take a list of its own from the default one.
        .entry(Entry::opaque("both"))
        .entries(names.map(|name| Entry::whiteout(format!("{name}/gone"))))
        .entry(described("plain"))
        .entry(described("removed").xattr(ACCESS, minimal()))
        .entry(described("removed-twice").xattr(ACCESS, minimal()))
        .entry(described("removed-twice").xattr("user.k", "v"))
        .entry(described("kept-first").xattr("user.k", "v"))
        .entry(described("kept-first").xattr(ACCESS, minimal()))
        .entry(described("both").xattr(DEFAULT, acl(&[])))
        .entry(described("first").xattr(ACCESS, minimal()))
        .entry(Entry::file("first/file", "x"))
        .entry(Entry::dir("again").xattr(ACCESS, full()))
        .entry(Entry::dir("again").mode(0o711).xattr(ACCESS, minimal()))
}
