//! Disks from layers in memory, judged by e2fsck and by a second, independent ext4 reader.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod fixture;

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixture::{Blobs, Silent, bake, base, e2fsck, file, gzip, image, layer, options, upper};
use larder_core::{Image, Layer};
use larder_disk::{BuildError, BuildOptions, CacheDisk, Cancel, LayerSource, build};

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
    let result = build(&images, &blobs, &directory.path().join("disk"), &options(), &Silent, &cancel);
    assert!(matches!(result, Err(BuildError::Cancelled)));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// What a place makes of a blob.
type Wrong = fn(&[u8]) -> Vec<u8>;

/// Blobs that are wrong at the first place, as is only told at their end.
struct Elsewhere {
    blobs: Blobs,
    wrong: Wrong,
    opened: AtomicUsize,
}

impl LayerSource for Elsewhere {
    fn open(&self, layer: &Layer) -> io::Result<Box<dyn BufRead + Send + '_>> {
        if self.opened.fetch_add(1, Ordering::Relaxed) > 0 {
            return self.blobs.open(layer);
        }
        let wrong = (self.wrong)(&self.blobs.0[&layer.descriptor.digest]);
        Ok(Box::new(BufReader::new(Cursor::new(wrong).chain(WrongDigest))))
    }

    fn is_elsewhere(&self, error: &io::Error) -> bool {
        error.to_string() == "the digest is wrong" && self.opened.load(Ordering::Relaxed) == 1
    }
}

struct WrongDigest;

impl Read for WrongDigest {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the digest is wrong"))
    }
}

#[test]
fn a_layer_with_a_wrong_digest_is_laid_out_anew_from_elsewhere_and_takes_no_more_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "one", &[layer(base)])];
    let direct = bake(&images, &blobs, &path("direct")).unwrap();
    let wrong: [Wrong; 3] = [
        <[u8]>::to_vec,
        // Neither gzip nor a tar, and more than is read before that is noticed.
        |_| vec![b'x'; 8 << 20],
        |bytes| [&bytes[..bytes.len() / 2], &vec![0xff; 1 << 20]].concat(),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let source = Elsewhere { blobs: Blobs(blobs.0.clone()), wrong, opened: AtomicUsize::new(0) };
        let output = path(&number.to_string());
        let report = build(&images, &source, &output, &options(), &Silent, &Cancel::default()).unwrap();
        assert_eq!(source.opened.into_inner(), 2);
        assert_eq!((report.id, report.used), (direct.id, direct.used), "{number}");
        e2fsck(&output);
        assert!(larder_disk::verify(&output, 1, &|_, _| {}).unwrap().is_good());
    }
}

#[test]
fn a_hole_that_takes_minutes_to_hash_does_not_hold_up_a_cancelled_build() {
    let directory = tempfile::tempdir().unwrap();
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "one", &[layer(with_hole)])];
    let cancel = Cancel::default();
    let (ended, waited) = std::thread::scope(|scope| {
        let options = BuildOptions { checksums: true, ..options() };
        let (images, blobs, cancel, output) = (&images, &blobs, &cancel, directory.path().join("disk"));
        let build = scope.spawn(move || build(images, blobs, &output, &options, &Silent, cancel));
        // Long enough to get to the hole.
        std::thread::sleep(Duration::from_millis(500));
        assert!(!build.is_finished());
        cancel.cancel();
        let started = Instant::now();
        (build.join().unwrap(), started.elapsed())
    });
    assert!(matches!(ended, Err(BuildError::Cancelled)));
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

/// A sparse file of 200 GiB with one byte of data.
fn with_hole(tar: &mut tar::Builder<Vec<u8>>) {
    let size = (200_u64 << 30).to_string();
    let records = [("major", "1"), ("minor", "0"), ("name", "sparse"), ("realsize", &size)];
    let records = records.map(|(key, value)| (format!("GNU.sparse.{key}"), value));
    tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_bytes()))).unwrap();
    let mut content = b"1\n0\n1\n".to_vec();
    content.resize(512, 0);
    content.push(b'x');
    file(tar, "stored", &content);
}

#[test]
fn what_is_in_use_is_read_once_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let mut blobs = Blobs::default();
    let images = [image(&mut blobs, "one", &[layer(base), layer(upper)])];
    bake(&images, &blobs, &path).unwrap();
    let report = larder_disk::inspect(&path).unwrap().file_system.unwrap();
    let mut sweep = larder_disk::Sweep::open(&path).unwrap();
    let mut read = 0;
    while let Some(length) = sweep.step().unwrap() {
        read += length as u64;
    }
    assert_eq!(read, sweep.total());
    assert!(read <= report.used && read > report.used / 2, "{read} of {} in use", report.used);
    assert!(report.used < report.size);
    assert_eq!(sweep.step().unwrap(), None);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(larder_disk::Sweep::open(&path).is_err());
}
