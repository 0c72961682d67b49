//! Disks from layers in memory, judged by e2fsck and by a second, independent ext4 reader.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, Cursor, Write};
use std::path::Path;
use std::process::Command;

use larder_core::{Blob, DiffId, Digest, Image, Layer, media_type};
use larder_disk::{BuildError, BuildOptions, BuildReport, CacheDisk, Cancel, LayerSource, Reporter, build};

#[derive(Default)]
struct Blobs(BTreeMap<Digest, Vec<u8>>);

impl LayerSource for Blobs {
    fn open(&self, layer: &Layer) -> io::Result<Box<dyn BufRead + Send + '_>> {
        match self.0.get(&layer.descriptor.digest) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such blob")),
        }
    }
}

struct Silent;

impl Reporter for Silent {
    fn planned(&self, _: &[&Layer]) {}
    fn read(&self, _: &Layer, _: u64) {}
    fn finished(&self, _: &Layer) {}
    fn writing_metadata(&self) {}
}

const OPTIONS: BuildOptions = BuildOptions { jobs: 2, journal: true, force: false };

type Fill = fn(&mut tar::Builder<Vec<u8>>);

fn layer(fill: Fill) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

fn file(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    tar.append_data(&mut header(tar::EntryType::Regular, content.len(), 0o644), path, content).unwrap();
}

fn directory(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32) {
    tar.append_data(&mut header(tar::EntryType::Directory, 0, mode), path, &b""[..]).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of `layers`, gzip; its blobs go to `blobs`.
fn image(blobs: &mut Blobs, name: &str, layers: &[Vec<u8>]) -> Image {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
    let config =
        serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}});
    let config = Blob::new(media_type::OCI_CONFIG, config.to_string());
    let descriptors = layers.iter().map(|layer| {
        let blob = Blob::new(media_type::OCI_LAYER_GZIP, gzip(layer));
        blobs.0.insert(blob.descriptor.digest, blob.bytes.to_vec());
        blob.descriptor
    });
    let manifest = serde_json::json!({
        "schemaVersion": 2, "config": config.descriptor, "layers": descriptors.collect::<Vec<_>>(),
    });
    let manifest = Blob::new(media_type::OCI_MANIFEST, manifest.to_string());
    let platform = "linux/amd64".parse().unwrap();
    Image::assemble(name.parse().unwrap(), vec![], manifest, config, &platform).unwrap()
}

fn bake(images: &[Image], blobs: &Blobs, output: &Path) -> Result<BuildReport, BuildError> {
    build(images, blobs, output, &OPTIONS, &Silent, &Cancel::default())
}

fn e2fsck(disk: &Path) {
    let output = Command::new("/sbin/e2fsck").arg("-fn").arg(disk).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("Fix? no") && !said.contains("WARNING"), "{said}");
}

fn base(tar: &mut tar::Builder<Vec<u8>>) {
    directory(tar, "tmp/", 0o1777);
    directory(tar, "etc/", 0o755);
    file(tar, "etc/hostname", b"larder\n");
    file(tar, "etc/deleted", b"x");
    file(tar, "big", &vec![0x5a; 3_000_000]);
    tar.append_link(&mut header(tar::EntryType::Link, 0, 0o600), "etc/link", "etc/hostname").unwrap();
    tar.append_link(&mut header(tar::EntryType::Symlink, 0, 0o777), "short", "etc/hostname").unwrap();
    tar.append_link(&mut header(tar::EntryType::Symlink, 0, 0o777), "long", "x/".repeat(1000)).unwrap();
    for n in 0..3000 {
        file(tar, &format!("many/file-with-a-name-of-some-length-{n}"), b"");
    }
    tar.append_pax_extensions([("SCHILY.xattr.user.large", &[b'v'; 2000][..]), ("mtime", b"-5.5")]).unwrap();
    file(tar, "xattrs", b"content");
}

fn upper(tar: &mut tar::Builder<Vec<u8>>) {
    file(tar, "tmp/implied", b"in tmp");
    file(tar, "etc/.wh.deleted", b"");
    file(tar, "many/.wh..wh..opq", b"");
}

#[test]
fn a_disk_is_clean_and_a_second_reader_finds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let mut blobs = Blobs::default();
    let images =
        [image(&mut blobs, "one", &[layer(base), layer(upper)]), image(&mut blobs, "two", &[layer(base)])];
    let report = bake(&images, &blobs, &path).unwrap();
    assert_eq!((report.layers, report.layer_uses), (2, 3));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), report.size);
    e2fsck(&path);

    let disk = ext4_view::Ext4::load_from_path(&path).unwrap();
    let read = |path: &str| disk.read(path).unwrap();
    assert_eq!(read("/snapshots/1/fs/etc/hostname"), b"larder\n");
    assert_eq!(read("/snapshots/1/fs/etc/link"), b"larder\n");
    assert_eq!(read("/snapshots/1/fs/big"), vec![0x5a; 3_000_000]);
    let target = |name: &str| disk.read_link(format!("/snapshots/1/fs/{name}").as_str()).unwrap();
    assert_eq!(target("short").as_ref(), b"etc/hostname");
    assert_eq!(target("long").as_ref().len(), 2000);
    assert_eq!(disk.read_dir("/snapshots/1/fs/many").unwrap().count(), 3002);
    assert!(disk.exists("/snapshots/1/fs/many/file-with-a-name-of-some-length-2999").unwrap());
    // The layer did not describe tmp: it is as in the layer below.
    let tmp = disk.metadata("/snapshots/2/fs/tmp").unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.uid()), (0o1777, 0));
    let whiteout = disk.symlink_metadata("/snapshots/2/fs/etc/deleted").unwrap();
    assert_eq!(whiteout.file_type(), ext4_view::FileType::CharacterDevice);
}

#[test]
fn the_metadata_is_read_back_from_a_mounted_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "one", &[layer(base), layer(upper)])];
    let report = bake(&images, &blobs, &path).unwrap();
    // Without a mount: debugfs copies everything out.
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let rdump =
        Command::new("/sbin/debugfs").arg("-R").arg(format!("rdump / {}", out.display())).arg(&path).output();
    assert!(rdump.unwrap().status.success());
    let disk = CacheDisk::read(&out).unwrap();
    assert_eq!(disk.id, report.id);
    assert_eq!(disk.images, images);
    assert_eq!(disk.layers.len(), 2);

    std::fs::write(out.join(format!("blobs/sha256/{}", images[0].config.descriptor.digest.hex())), "{}")
        .unwrap();
    assert!(matches!(CacheDisk::read(&out), Err(larder_disk::LayoutError::Digest { .. })));
}

#[test]
fn the_same_images_make_the_same_disk_id() {
    let directory = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "one", &[layer(base), layer(upper)])];
    let ids = ["a", "b"].map(|name| bake(&images, &blobs, &directory.path().join(name)).unwrap().id);
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_bad_layer_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let mut blobs = Blobs::default();
    let good = image(&mut blobs, "good", &[layer(base)]);
    let mut wrong = image(&mut blobs, "wrong", &[layer(upper)]);
    let absent = wrong.layers[0].clone();
    // The blob is another layer than the configuration says.
    wrong.layers[0].descriptor = good.layers[0].descriptor.clone();
    let failed = |images: &[Image], blobs: &Blobs| {
        let error = bake(images, blobs, &path).unwrap_err();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        error
    };
    assert!(matches!(failed(&[wrong], &blobs), BuildError::DiffId { .. }));
    blobs.0.insert(
        absent.descriptor.digest,
        gzip(b"no tar at all, but long enough to be taken for a header, if one"),
    );
    let broken = image(&mut Blobs::default(), "wrong", &[layer(upper)]);
    let error = failed(&[good.clone(), broken], &blobs).to_string();
    assert!(
        error.contains("docker.io/library/wrong:latest")
            && error.contains(&absent.descriptor.digest.to_string())
    );
    blobs.0.clear();
    assert!(matches!(failed(&[good], &blobs), BuildError::Source { .. }));
}

#[test]
fn a_cancelled_build_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "one", &[layer(base)])];
    let cancel = Cancel::default();
    cancel.cancel();
    let result = build(&images, &blobs, &directory.path().join("disk"), &OPTIONS, &Silent, &cancel);
    assert!(matches!(result, Err(BuildError::Cancelled)));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
