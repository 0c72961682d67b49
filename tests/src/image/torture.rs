//! An image of all that unpacking can get wrong, and that containerd accepts. It refuses some tars that others take, so
//! those are not here: old GNU sparse entries, hard links to a lower layer's file, a file removed by the layer that made
//! it, an attribute larger than a block. It drops `trusted.` attributes, and `user.` ones of what is no file or directory.

use anyhow::Result;

use super::{Compression, Dialect, Entry, Image, ImageBuilder, LayerBuilder, busybox};

/// The longest name that a directory can hold, bytes.
const LONGEST_NAME: usize = 255;
/// More names than fit a few directory blocks.
const CROWD: usize = 1500;
/// `cap_net_bind_service=ep`, as `VFS_CAP_REVISION_2` stores it (capabilities(7)).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The same as `VFS_CAP_REVISION_3`, for the user namespace of user 1000.
const NAMESPACED: [u8; 24] = [1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0];

/// Seven layers on busybox's, in every compression; `/bin/sh` runs in it.
pub fn torture() -> Result<Image> {
    use Compression::{Gzip, None, Zstd};
    let layers = [
        (base(busybox()?), Gzip),
        (removals(), Zstd),
        (implied_parents(), None),
        (kinds_and_attributes(), Gzip),
        (names(), Zstd),
        (contents(), Gzip),
        (order(), None),
    ];
    let layers = layers.map(|(layer, compression)| layer.build(compression));
    let layers = layers.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(ImageBuilder::default()
        .layers(&layers)
        .env(&["PATH=/bin", "TORTURE=yes"])
        .entrypoint(&["/bin/sh"])
        .cmd(&["-c", "echo survived"])
        .build())
}

/// What the layers above change.
fn base(busybox: LayerBuilder) -> LayerBuilder {
    busybox
        .entry(
            Entry::dir("data").mode(0o750).owner(1000, 1000).mtime(1_000_000_000, 5).xattr("user.of", "data"),
        )
        .entry(Entry::dir("group").mode(0o2775).owner(0, 50))
        .entry(Entry::file("group/removed", "lower"))
        .entry(Entry::file("gone", "lower"))
        .entry(Entry::dir("gone-dir").mode(0o700).owner(9, 9))
        .entry(Entry::file("gone-dir/inside", "lower"))
        .entry(Entry::dir("opaque").mode(0o711))
        .entry(Entry::file("opaque/old", "lower"))
        .entry(Entry::dir("opaque/old-dir"))
        .entry(Entry::file("opaque/old-dir/deep", "lower"))
        .entry(Entry::dir("kept").mode(0o775).owner(3, 3))
        .entry(Entry::file("kept/removed", "lower"))
        .entry(Entry::file("kept/stays", "lower"))
        .entry(Entry::dir("rebuilt"))
        .entry(Entry::file("rebuilt/old", "lower"))
        .entry(Entry::dir("dir-to-file").mode(0o711).owner(5, 6))
        .entry(Entry::file("dir-to-file/inside", "lower"))
        .entry(Entry::file("file-to-dir", "lower"))
        .entry(Entry::dir("dir-to-link"))
        .entry(Entry::file("dir-to-link/inside", "lower"))
        .entry(Entry::file("replaced", "lower"))
        .entry(Entry::dir("below").mode(0o700).owner(7, 8))
}

fn removals() -> LayerBuilder {
    LayerBuilder::default()
        .entry(Entry::whiteout("gone").owner(7, 7).mode(0o640))
        .entry(Entry::whiteout("gone-dir"))
        .entry(Entry::whiteout("never-was"))
        .entry(Entry::dir("opaque").mode(0o711))
        .entry(Entry::file("opaque/before", "upper"))
        .entry(Entry::opaque("opaque"))
        .entry(Entry::file("opaque/after", "upper"))
        .entry(Entry::whiteout("kept/removed"))
        .entry(Entry::whiteout("dir-to-file"))
        .entry(Entry::file("dir-to-file", "upper"))
        .entry(Entry::dir("file-to-dir"))
        .entry(Entry::file("file-to-dir/inside", "upper"))
        .entry(Entry::symlink("dir-to-link", "kept"))
        .entry(Entry::file("replaced", "upper").mode(0o600).owner(1, 2))
}

/// No directory has an entry here: each takes after the nearest layer below that has it, or is 0755 of root.
fn implied_parents() -> LayerBuilder {
    LayerBuilder::default()
        .entry(Entry::file("tmp/file", "implied"))
        .entry(Entry::file("data/file", "implied"))
        .entry(Entry::file("data/new/deeper/file", "implied"))
        .entry(Entry::file("group/file", "implied"))
        .entry(Entry::file("group/new/further/file", "implied"))
        .entry(Entry::whiteout("group/removed"))
        .entry(Entry::file("opaque/later", "implied"))
        .entry(Entry::opaque("below"))
        .entry(Entry::whiteout("gone-dir/again"))
        .entry(Entry::file("dir-to-file/inside", "implied"))
        .entry(Entry::file("dir-to-link/inside", "implied"))
}

fn kinds_and_attributes() -> LayerBuilder {
    LayerBuilder::default()
        .entry(Entry::dir("./").mode(0o751).owner(3, 4).mtime(1_234_567_890, 1).xattr("user.of", "root"))
        .entry(Entry::dir("kinds"))
        .entry(Entry::char_device("kinds/null", 1, 3).mode(0o666))
        .entry(Entry::char_device("kinds/far", 4000, 1_000_000).owner(70_000, 80_000))
        .entry(Entry::block_device("kinds/disk", 259, 300).xattr("trusted.of", "disk"))
        .entry(Entry::char_device("kinds/whiteout", 0, 0))
        .entry(Entry::fifo("kinds/fifo").mode(0o644).mtime(2, 3))
        .entry(Entry::symlink("kinds/short", "../bin/sh").owner(5, 6).mtime(1_500_000_000, 999_999_999))
        .entry(Entry::symlink("kinds/59", "5".repeat(59)))
        .entry(Entry::symlink("kinds/60", "6".repeat(60)))
        .entry(Entry::symlink("kinds/300", "/3".repeat(150)).xattr("trusted.of", "link"))
        .entry(Entry::symlink("kinds/4000", "/4".repeat(2000)).xattr("user.of", "link"))
        .entry(Entry::symlink("kinds/gnu", "/4".repeat(160)).dialect(Dialect::Gnu))
        .entry(Entry::dir("attributes"))
        .entry(Entry::file("attributes/setuid", "x").mode(0o4755))
        .entry(Entry::file("attributes/setgid", "x").mode(0o2755).owner(1, 2))
        .entry(Entry::file("attributes/all", "x").mode(0o7777))
        .entry(Entry::file("attributes/none", "x").mode(0))
        .entry(Entry::dir("attributes/sticky").mode(0o3770))
        .entry(Entry::file("attributes/owner", "x").owner(70_000, 4_000_000))
        .entry(Entry::file("attributes/owner-gnu", "x").owner(3_000_000_000, 65_536).dialect(Dialect::Gnu))
        .entry(Entry::file("attributes/nanoseconds", "x").mtime(1_600_000_000, 123_456_789))
        .entry(Entry::file("attributes/before-1970", "x").mtime(-86_400, 500_000_000))
        .entry(Entry::file("attributes/before-1970-gnu", "x").mtime(-86_400, 0).dialect(Dialect::Gnu))
        .entry(Entry::file("attributes/after-2038", "x").mtime(4_000_000_000, 7))
        .entry(Entry::file("attributes/capability", "x").mode(0o755).xattr("security.capability", CAPABILITY))
        .entry(Entry::file("attributes/namespaced", "x").mode(0o755).xattr("security.capability", NAMESPACED))
        .entry(
            Entry::file("attributes/small", "x")
                .xattr("user.a", "1")
                .xattr("user.b", b"\0\xff")
                .xattr("user.c", ""),
        )
        .entry(
            Entry::file("attributes/large", "x").xattr("user.large", vec![b'l'; 2000]).xattr("user.z", "z"),
        )
        .entry(Entry::file("attributes/largest", "x").xattr("user.largest", vec![b'l'; 3900]))
        .entry(Entry::file("attributes/same", "y").xattr("user.large", vec![b'l'; 2000]).xattr("user.z", "z"))
        .entry(Entry::dir("attributes/of-dir").xattr("user.of", "dir").xattr("trusted.of", "dir"))
        .entries(hard_links())
}

/// A hard link's own header acts on the inode that it names.
fn hard_links() -> [Entry; 10] {
    let capable = || Entry::file("links/capable", "c").mode(0o755).xattr("security.capability", CAPABILITY);
    [
        Entry::dir("links"),
        Entry::file("links/a", "shared").mode(0o4755).owner(9, 9),
        Entry::hard_link("links/b", "links/a").mode(0o4755).owner(9, 9),
        Entry::hard_link("attributes/c", "./links/b").mode(0o4755).owner(9, 9),
        Entry::symlink("links/symlink", "a"),
        Entry::hard_link("links/to-symlink", "links/symlink").mode(0o777),
        Entry::file("links/changed", "c").owner(1, 1).mtime(10, 0),
        Entry::hard_link("links/changes", "links/changed").mode(0o600).owner(2, 2).mtime(20, 5),
        capable(),
        Entry::hard_link("links/capable-too", "links/capable").mode(0o755),
    ]
}

fn names() -> LayerBuilder {
    let nested = ["n".repeat(200), "e".repeat(200), "s".repeat(200), "t".repeat(200)].join("/");
    let longest = "l".repeat(LONGEST_NAME);
    let crowd =
        (0..CROWD).map(|n| Entry::file(format!("crowd/{n:05}-{}", "c".repeat(n % 60)), format!("{n}")));
    LayerBuilder::default()
        .entry(Entry::dir("names"))
        .entry(Entry::file(format!("names/{}", "p".repeat(101)), "pax"))
        .entry(Entry::file(format!("names/{}", "g".repeat(101)), "gnu").dialect(Dialect::Gnu))
        .entry(
            Entry::file(format!("names/{}/{}", "u".repeat(90), "v".repeat(90)), "ustar")
                .dialect(Dialect::Ustar),
        )
        .entry(Entry::file(format!("names/{longest}"), "longest"))
        .entry(Entry::hard_link("names/of-longest", format!("names/{longest}")))
        .entry(Entry::file(format!("names/{nested}/file"), "nested"))
        .entry(Entry::file(b"names/caf\xe9", "latin-1"))
        .entry(Entry::dir(b"names/\xff\xfe"))
        .entry(Entry::file([b"names/\xff\xfe/".as_slice(), &[0xfd; 120]].concat(), "not UTF-8, PAX"))
        .entry(Entry::file([b"names/".as_slice(), &[0xfc; 120]].concat(), "GNU").dialect(Dialect::Gnu))
        .entry(Entry::symlink("names/to-latin-1", b"caf\xe9"))
        .entry(Entry::file("names/sp ace\ttab\nline\\back\"quote", "x"))
        .entry(Entry::file("names/\u{e9}\u{4e2d}\u{1f600}", "UTF-8"))
        .entry(Entry::file(".//names/./dotted", "x"))
        .entry(Entry::file("names/.wh", "no whiteout"))
        .entry(Entry::file("names/trailing.", "x"))
        .entry(Entry::dir("crowd"))
        .entries(crowd)
}

fn contents() -> LayerBuilder {
    let sizes = [0, 1, 60, 4095, 4096, 4097, 65_536, (1 << 20) + 1];
    let file = |size: usize| Entry::file(format!("contents/{size}"), pattern(size));
    let pieces = vec![(4096, pattern(512)), (1 << 20, pattern(5000)), ((1 << 20) + 8192, pattern(1))];
    LayerBuilder::default()
        .entry(Entry::dir("contents"))
        .entries(sizes.map(file))
        .entry(Entry::file("contents/zeros", vec![0; 300_000]))
        .entry(Entry::dir("contents/empty"))
        .entry(Entry::pax_sparse("contents/sparse", pieces, 3 << 20))
        .entry(Entry::pax_sparse("contents/only-a-hole", Vec::new(), 1 << 20))
}

/// Where the order of entries in one layer decides.
fn order() -> LayerBuilder {
    LayerBuilder::default()
        .entry(Entry::file("twice", "first").mode(0o600).owner(1, 1).xattr("user.first", "gone"))
        .entry(Entry::file("twice", "last"))
        .entry(Entry::dir("dir-twice").mode(0o700).xattr("user.first", "stays"))
        .entry(Entry::file("dir-twice/inside", "stays"))
        .entry(Entry::dir("dir-twice").mode(0o755).owner(5, 5))
        .entry(Entry::dir("dir-then-file"))
        .entry(Entry::file("dir-then-file/inside", "gone"))
        .entry(Entry::file("dir-then-file", "last"))
        .entry(Entry::file("file-then-dir", "gone"))
        .entry(Entry::file("file-then-dir-link", "gone"))
        .entry(Entry::hard_link("file-then-dir-link-2", "file-then-dir-link"))
        .entry(Entry::dir("file-then-dir-link"))
        .entry(Entry::dir("file-then-dir"))
        .entry(Entry::file("late-parent/inside", "x"))
        .entry(Entry::dir("late-parent").mode(0o700).owner(6, 6))
        .entry(Entry::whiteout("rebuilt"))
        .entry(Entry::dir("rebuilt"))
        .entry(Entry::file("rebuilt/new", "upper"))
        .entry(Entry::dir("real"))
        .entry(Entry::symlink("relative", "real"))
        .entry(Entry::symlink("absolute", "/real"))
        .entry(Entry::file("relative/by-relative", "x"))
        .entry(Entry::file("absolute/by-absolute", "x"))
        .entry(Entry::symlink("link-then-dir", "real"))
        .entry(Entry::dir("link-then-dir").mode(0o711))
        .entry(Entry::symlink("dangling", "no/where"))
        .entry(Entry::file("dangling/found", "x"))
        .entry(Entry::symlink("to-lower", "data"))
        .entry(Entry::file("to-lower/through-link", "x"))
}

/// Content that differs from block to block.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at / 251 + at) % 251).unwrap_or_default()).collect()
}
