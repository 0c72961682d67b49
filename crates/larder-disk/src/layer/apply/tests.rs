use super::*;
use crate::fixture::{Archive, Made, Scratch};
use crate::layer::listing;

const TIME: &str = "1700000000.000000000";
/// `cap_net_bind_service=ep`.
const CAP: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn unpacked(base: bool, entries: impl IntoIterator<Item = Made>) -> Result<Tree, LayerError> {
    Scratch::new().unpack(&Archive::of(entries), base)
}

/// The lines of the listing below the root, without the usual time and without hashes.
fn lines(tree: &Tree) -> Vec<String> {
    let text = String::from_utf8(listing(tree)).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').map(|field| field.split(' ').next().unwrap()).collect();
        fields.into_iter().filter(|field| *field != TIME).collect::<Vec<_>>().join(" ")
    };
    text.lines().skip(2).map(line).collect()
}

fn base(entries: impl IntoIterator<Item = Made>) -> Vec<String> {
    lines(&unpacked(true, entries).unwrap())
}

fn upper(entries: impl IntoIterator<Item = Made>) -> Vec<String> {
    lines(&unpacked(false, entries).unwrap())
}

fn refused(entries: impl IntoIterator<Item = Made>) -> String {
    unpacked(false, entries).map(|tree| lines(&tree)).unwrap_err().to_string()
}

#[test]
fn every_kind_keeps_its_attributes() {
    let entries = [
        Made::directory("d/").mode(0o3770).owner(1, 70_000),
        Made::file("d/f", "abc").mode(0o104_755).xattr("user.k", "v").mtime("1.5"),
        Made::symlink("s", "../x").owner(3, 4).mode(0o700),
        Made::device(b'3', "c", 4095, 1_048_575),
        Made::device(b'4', "b", 8, 1).mode(0o660),
        Made::new(b'6', "p"),
        Made::file("old/", "").set(|header| header.as_old_mut().linkflag[0] = 0),
        Made::file("plain", "x").set(|header| header.as_old_mut().linkflag[0] = 0),
    ];
    let expected = [
        "b block 0660 0:0 - 8:1",
        "c character 0644 0:0 - 4095:1048575",
        "d directory 3770 1:70000 - -",
        "d/f file 4755 0:0 1.500000000 user.k=76 3",
        "old directory 0644 0:0 - -",
        "p fifo 0644 0:0 - -",
        "plain file 0644 0:0 - 1",
        "s symlink 0777 3:4 - ../x",
    ];
    assert_eq!(base(entries), expected);
}

#[test]
fn a_whiteout_is_a_device_above_and_nothing_in_a_base() {
    let entries = || [Made::file("d/.wh.gone", "").owner(7, 8).xattr("user.k", "v")];
    assert_eq!(upper(entries())[1..], ["d/gone character 0000 7:8 - 0:0"]);
    assert_eq!(base(entries()), ["d directory 0755 0:0 0.000000000 - -"]);
    let of_own = || [Made::file("own", ""), Made::file("own2", ""), Made::file(".wh.own", "")];
    assert_eq!(base(of_own()), ["own2 file 0644 0:0 - 0"]);
    assert_eq!(refused(of_own()), "entry .wh.own: it deletes what the same layer has put there");
    // The other way round it is replaced.
    assert_eq!(upper([Made::file(".wh.f", ""), Made::file("f", "x")]), ["f file 0644 0:0 - 1"]);
    for name in [".wh.", ".wh..", ".wh..."] {
        assert_eq!(
            refused([Made::file(name, "")]),
            format!("entry {name}: it deletes a name that is not one")
        );
    }
    // Only a path's last name is a mark.
    assert_eq!(upper([Made::file(".wh.d/f", "")])[1], ".wh.d/f file 0644 0:0 - 0");
}

#[test]
fn an_opaque_mark_is_an_attribute_above_and_a_removal_of_what_was_implied_in_a_base() {
    let entries = || {
        [
            Made::directory("d").mode(0o700).xattr("user.k", "v"),
            Made::file("d/f", ""),
            Made::file("d/implied/f", ""),
            Made::file("d/.wh..wh..opq", ""),
            Made::file("d/later/f", ""),
            Made::file("d/.wh..wh..opq", ""),
        ]
    };
    let names = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(upper(entries())[0], "d directory 0700 0:0 trusted.overlay.opaque=79,user.k=76 -");
    assert_eq!(names(upper(entries())), ["d", "d/f", "d/implied", "d/implied/f", "d/later", "d/later/f"]);
    assert_eq!(names(base(entries())), ["d", "d/f", "d/later", "d/later/f"]);
    let root = unpacked(false, [Made::file(".wh..wh..opq", "")]).unwrap();
    assert!(root.node(NodeId::ROOT).attributes.xattrs.is_some());
}

#[test]
fn a_hard_link_brings_its_own_attributes_and_drops_the_capability() {
    let entries = [
        Made::file("a", "abc").mode(0o4755).xattr("security.capability", CAP).xattr("user.a", "1"),
        Made::hard_link("b", "/a").mode(0o600).owner(5, 6).mtime("9").xattr("user.b", "2"),
        Made::symlink("s", "a"),
        Made::hard_link("t", "./s").owner(1, 1).xattr("user.b", "no"),
        Made::device(b'3', "c", 1, 3),
        Made::hard_link("e", "c").xattr("user.b", "no").xattr("security.x", "y"),
        Made::hard_link("f", "a").mode(0o600).owner(5, 6).mtime("9").xattr("security.capability", CAP),
    ];
    let expected = [
        "a file 0600 5:6 9.000000000 security.capability=0100000200040000000000000000000000000000,user.a=31,\
         user.b=32 3",
        "b hard-link a",
        "c character 0644 0:0 security.x=79 1:3",
        "e hard-link c",
        "f hard-link a",
        "s symlink 0777 1:1 - a",
        "t hard-link s",
    ];
    assert_eq!(base(entries), expected);
    let without = [Made::file("a", "").xattr("security.capability", CAP), Made::hard_link("b", "a")];
    assert_eq!(base(without)[0], "a file 0644 0:0 - 0");
}

#[test]
fn a_hard_link_must_lead_to_a_file_of_the_layer() {
    for (entries, reason) in [
        (
            vec![Made::hard_link("l", "absent")],
            "it is a hard link to \"absent\", which the layer does not have",
        ),
        (
            vec![Made::hard_link("l", "no/where")],
            "it is a hard link to \"no/where\", which the layer does not have",
        ),
        (vec![Made::hard_link("l", "/")], "it is a hard link to \"/\", which the layer does not have"),
        (vec![Made::directory("d"), Made::hard_link("l", "d")], "it is a hard link to a directory"),
        (
            vec![Made::file("l", ""), Made::hard_link("l", "l")],
            "it is a hard link to \"l\", which the layer does not have",
        ),
        (vec![Made::hard_link("l", "../l")], "the path leads upwards (..)"),
        (
            vec![Made::symlink("out", "../.."), Made::hard_link("l", "out/f")],
            "a symbolic link on the way leads out of the layer",
        ),
        (vec![Made::file("f", ""), Made::hard_link("l", "f/x")], "a parent of the path is not a directory"),
    ] {
        assert_eq!(refused(entries), format!("entry l: {reason}"));
    }
}

#[test]
fn more_names_than_ext4_holds_are_refused() {
    let names = (1..=65_000).map(|n| Made::hard_link(format!("d{}/{n}", n % 7), "f"));
    let error = refused(std::iter::once(Made::file("f", "")).chain(names));
    assert_eq!(error, "entry d5/65000: its file has more than 65000 names, which ext4 cannot hold");
}

#[test]
fn symlinks_and_devices_have_no_user_attributes_and_nothing_has_trusted_ones() {
    let attributed = |made: Made| {
        made.xattr("user.k", "v").xattr("trusted.k", "v").xattr("security.k", "v").xattr("unknown", "v")
    };
    let entries = [
        attributed(Made::file("f", "")),
        attributed(Made::directory("d")),
        attributed(Made::symlink("s", "x")),
        attributed(Made::new(b'6', "p")),
    ];
    let xattrs: Vec<String> =
        base(entries).iter().map(|line| line.split(' ').nth(4).unwrap().to_owned()).collect();
    assert_eq!(
        xattrs,
        ["security.k=76,user.k=76", "security.k=76,user.k=76", "security.k=76", "security.k=76"]
    );
}

#[test]
fn attributes_that_the_kernel_or_ext4_would_not_take_are_refused() {
    let file = || Made::file("f", "");
    let too_large = "its extended attributes take more than one block of 4096 bytes, which ext4 cannot hold";
    let list = [2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff];
    for (entry, reason) in [
        (file().xattr("user.", "v"), "the name of the extended attribute \"user.\" is empty or too long"),
        (file().xattr("user.a", vec![b'v'; 5000]), too_large),
        (file().xattr("user.a", vec![b'v'; 3000]).xattr("user.b", vec![b'v'; 3000]), too_large),
        (file().xattr("security.capability", "short"), "its file capability is malformed"),
        (
            file().xattr("system.posix_acl_access", list),
            "its access control list is malformed, or one that only directories have",
        ),
        (
            file().xattr("system.posix_acl_default", ""),
            "its access control list is malformed, or one that only directories have",
        ),
        (file().owner(-1, 0), "the owner -1:0 is out of range"),
        (file().owner(0, 4_294_967_295), "the owner 0:4294967295 is out of range"),
        (file().owner(0, 1 << 40), "the owner 0:1099511627776 is out of range"),
    ] {
        assert_eq!(refused([entry]), format!("entry f: {reason}"));
    }
    let long = format!("user.{}", "n".repeat(251));
    assert!(refused([file().xattr(&long, "v")]).ends_with("is empty or too long"));
    assert!(unpacked(true, [file().xattr(&long[..255], "v")]).is_ok());
    // Together they are too large, although each header's own are not.
    let twice = [
        Made::directory("d").xattr("user.a", vec![b'v'; 3000]),
        Made::directory("d").xattr("user.b", vec![b'v'; 3000]),
    ];
    assert_eq!(refused(twice), format!("entry d: {too_large}"));
}

#[test]
fn an_access_control_list_that_says_no_more_than_the_mode_is_not_kept() {
    let entry = |tag: u8, permissions: u8| [tag, 0, permissions, 0, 0xff, 0xff, 0xff, 0xff];
    let list = |entries: &[[u8; 8]]| [&[2, 0, 0, 0][..], &entries.concat()].concat();
    let minimal = list(&[entry(1, 6), entry(4, 4), entry(0x20, 4)]);
    let full = list(&[entry(1, 6), entry(4, 4), entry(0x10, 4), entry(0x20, 4)]);
    let name = "system.posix_acl_access";
    let kept = |value: &[u8]| base([Made::file("f", "").xattr(name, value)])[0].contains(name);
    assert_eq!([kept(&minimal), kept(&full), kept(b"")], [false, true, false]);
    assert_eq!(base([Made::symlink("s", "x").xattr(name, &full)]), ["s symlink 0777 0:0 - x"]);
}

#[test]
fn devices_and_links_out_of_range_are_refused() {
    let out = "entry c: the device number 4096:0 is out of range";
    assert_eq!(refused([Made::device(b'3', "c", 4096, 0)]), out);
    assert!(refused([Made::device(b'4', "c", 0, 1_048_576)]).ends_with("0:1048576 is out of range"));
    let target = "the symbolic link's target is empty or longer than 4095 bytes";
    assert_eq!(refused([Made::symlink("s", "")]), format!("entry s: {target}"));
    assert_eq!(refused([Made::symlink("s", vec![b'x'; 4096])]), format!("entry s: {target}"));
    assert_eq!(base([Made::symlink("s", vec![b'x'; 4095])]).len(), 1);
}

#[test]
fn of_duplicates_the_last_counts() {
    let entries = [
        Made::file("f", "first").mode(0o700).xattr("user.k", "v"),
        Made::file("f", "2").owner(1, 1),
        Made::directory("d").xattr("user.first", "1"),
        Made::file("d/kept", ""),
        Made::directory("d").mode(0o700).owner(2, 2),
    ];
    let expected =
        ["d directory 0700 2:2 user.first=31 -", "d/kept file 0644 0:0 - 0", "f file 0644 1:1 - 1"];
    assert_eq!(base(entries), expected);
}

#[test]
fn files_and_directories_replace_each_other() {
    let entries = [
        Made::directory("d-f").mtime("5"),
        Made::file("d-f/gone", ""),
        Made::file("d-f", "x"),
        Made::file("f-d", "x"),
        Made::hard_link("other", "f-d"),
        Made::directory("f-d"),
        Made::symlink("s-d", "f-d"),
        Made::directory("s-d").mode(0o711),
        Made::file("d-s/gone", ""),
        Made::symlink("d-s", "absent"),
    ];
    let expected = [
        // Times of directories are set last, whatever has their path by then.
        "d-f file 0644 0:0 5.000000000 - 1",
        "d-s symlink 0777 0:0 - absent",
        "f-d directory 0755 0:0 - -",
        "other file 0644 0:0 - 1",
        "s-d directory 0711 0:0 - -",
    ];
    assert_eq!(base(entries), expected);
}

#[test]
fn directories_left_out_are_implied_and_take_what_comes_later() {
    let entries = [
        Made::directory("shared").mode(0o2775).owner(0, 50),
        Made::file("shared/new/deeper/f", ""),
        Made::directory("shared/new/deeper").mode(0o700),
    ];
    let expected = [
        "shared directory 2775 0:50 - -",
        "shared/new directory 0755 0:50 0.000000000 - -",
        "shared/new/deeper directory 0700 0:0 - -",
        "shared/new/deeper/f file 0644 0:0 - 0",
    ];
    assert_eq!(base(entries), expected);
}

#[test]
fn links_of_the_layer_are_followed_inside_it() {
    let entries = [
        Made::directory("real"),
        Made::symlink("relative", "real"),
        Made::symlink("absolute", "/real"),
        Made::symlink("dangling", "no/where"),
        Made::file("relative/a", ""),
        Made::file("absolute/b", ""),
        Made::file("dangling/c", ""),
        Made::hard_link("relative/d", "absolute/a"),
    ];
    let lines = base(entries);
    let names: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [
        "absolute",
        "dangling",
        "no",
        "no/where",
        "no/where/c",
        "real",
        "real/a",
        "real/b",
        "real/d",
        "relative",
    ];
    assert_eq!(names, expected);
}

#[test]
fn paths_that_lead_out_or_cannot_be_are_refused() {
    let long = "n".repeat(256);
    let deep = "d/".repeat(2100);
    let shown = format!("{}...", "d/".repeat(100));
    for (path, reason) in [
        ("../f", "entry ../f: the path leads upwards (..)"),
        ("a/../f", "entry a/../f: the path leads upwards (..)"),
        ("/etc/f", "entry /etc/f: the path is absolute"),
        (&long, &format!("entry {}...: a name in the path is longer than 255 bytes", &long[..200])),
        (&deep, &format!("entry {shown}: the path is longer than 4095 bytes")),
        ("out/f", "entry out/f: a symbolic link on the way leads out of the layer"),
        ("up/f", "entry up/f: a symbolic link on the way leads out of the layer"),
        ("loop/f", "entry loop/f: too many symbolic links on the way"),
        ("file/f", "entry file/f: a parent of the path is not a directory"),
    ] {
        let entries = [
            Made::symlink("out", "/../etc"),
            Made::symlink("up", "loop/../.."),
            Made::symlink("loop", "loop"),
            Made::file("file", ""),
            Made::file(path, ""),
        ];
        assert_eq!(refused(entries), reason);
    }
}

#[test]
fn the_root_keeps_its_attributes_and_its_content_is_skipped() {
    let entries =
        [Made::directory("./").mode(0o700).owner(1, 1), Made::file(".", "skipped"), Made::file("./f", "")];
    let tree = unpacked(true, entries).unwrap();
    assert_eq!(tree.node(NodeId::ROOT).attributes, Attributes::plain_directory());
    assert_eq!(lines(&tree), ["f file 0644 0:0 - 0"]);
}

#[test]
fn times_that_containerd_cannot_express_are_1970() {
    let time = |time: &str| {
        let line = base([Made::file("f", "").mtime(time)]).remove(0);
        line.split(' ').nth(4).unwrap().to_owned()
    };
    assert_eq!(time("-0.5"), "0.000000000");
    assert_eq!(time("-86400"), "0.000000000");
    assert_eq!(time("4102444800.1"), "4102444800.100000000");
    assert_eq!(time("9223372036.854775807"), "9223372036.854775807");
    assert_eq!(time("9223372036.854775808"), "0.000000000");
    assert_eq!(time("9223372036854775807"), "0.000000000");
}

#[test]
fn a_global_header_makes_room_for_its_name_as_in_containerd() {
    let global = |path: &str| Made::new(b'g', path);
    assert_eq!(base([global("pax_global_header"), Made::file("f", "")]), ["f file 0644 0:0 - 0"]);
    let entries = [Made::file("tmp/x", ""), global("/tmp/x"), global("new/y")];
    let lines = base(entries);
    assert_eq!(lines.iter().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(), ["new", "tmp"]);
}

#[test]
fn all_four_forms_of_sparse_files_are_the_same_file() {
    let data = || [vec![b'a'; 512], vec![b'b'; 512]].concat();
    let expected = [vec![b'a'; 512], vec![0; 99_488], vec![b'b'; 512]].concat();
    let sized = |size: &str| {
        Made::file("f", data()).record("GNU.sparse.numblocks", "2").record("GNU.sparse.size", size)
    };
    let zero = sized("100512")
        .record("GNU.sparse.offset", "0")
        .record("GNU.sparse.numbytes", "512")
        .record("GNU.sparse.offset", "100000")
        .record("GNU.sparse.numbytes", "512");
    let one = sized("100512").record("GNU.sparse.map", "0,512,100000,512").record("GNU.sparse.name", "f");
    let mut map = b"2\n0\n512\n100000\n512\n".to_vec();
    map.resize(512, 0);
    let in_data = Made::file("x", [map, data()].concat())
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", "f")
        .record("GNU.sparse.realsize", "100512");
    let old = Made::file("f", data()).set(|header| {
        *header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_path("f").unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(crate::fixture::MTIME);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        for (sparse, (offset, length)) in gnu.sparse.iter_mut().zip([(0, 512), (100_000, 512)]) {
            sparse.set_offset(offset);
            sparse.set_length(length);
        }
        gnu.set_real_size(100_512);
    });
    let plain = unpacked(true, [Made::file("f", expected)]).unwrap();
    for sparse in [zero, one, in_data, old] {
        let tree = unpacked(true, [sparse, Made::file("z", "after")]).unwrap();
        assert_eq!(
            listing(&tree).split(|b| *b == b'\n').nth(2),
            listing(&plain).split(|b| *b == b'\n').nth(2)
        );
        let Kind::File(content) = &tree.node(tree.child(NodeId::ROOT, b"f").unwrap()).kind else { panic!() };
        let blocks: u64 = content.extents.iter().map(|extent| u64::from(extent.length)).sum();
        assert_eq!(blocks, 2, "the hole takes no blocks");
    }
}

#[test]
fn a_sparse_file_of_nothing_but_a_huge_hole_is_refused_at_once() {
    let sparse = |size: u64| {
        Made::file("f", "")
            .record("GNU.sparse.major", "0")
            .record("GNU.sparse.minor", "1")
            .record("GNU.sparse.numblocks", "0")
            .record("GNU.sparse.size", size.to_string())
    };
    let started = std::time::Instant::now();
    for size in [(256 << 30) + 1, i64::MAX as u64] {
        let error = "entry f: with it the layer's sparse files have more than 256 GiB of holes";
        assert_eq!(refused([sparse(size)]), error);
    }
    assert!(refused([sparse(1 << 30), sparse((256 << 30) - 1)]).ends_with("of holes"), "together");
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn many_opaque_marks_on_a_large_directory_take_no_time() {
    let files = (0..20_000).map(|n| Made::file(format!("d/{n}"), ""));
    let marks = (0..20_000).map(|_| Made::file("d/.wh..wh..opq", ""));
    let started = std::time::Instant::now();
    let lines = base(std::iter::once(Made::directory("d")).chain(files).chain(marks));
    assert_eq!(lines.len(), 20_001);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
