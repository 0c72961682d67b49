//! The lab itself: what the other tests rely on is there, and can tell a difference.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use larder_core::Digest;
use larder_tests::containerd::{Containerd, Finished, Version, on_each};
use larder_tests::debian::Suite;
use larder_tests::image::{
    Compression, Entry, Family, Image, ImageBuilder, LayerBuilder, MultiImage, busybox, deep,
    package_entries, torture,
};
use larder_tests::registry::{Credentials, Registry};
use larder_tests::tree::{self, Tree};

fn printed(stdout: &str) -> Finished {
    Finished { exit_code: 0, stdout: stdout.to_owned(), stderr: String::new() }
}

/// The layers of `image` as this containerd has unpacked them, base first.
fn unpacked(containerd: &Containerd, image: &Image) -> anyhow::Result<Vec<Tree>> {
    let top = image.chain_ids().pop().ok_or_else(|| anyhow::anyhow!("an image without layers"))?;
    containerd.layer_directories(top)?.iter().map(|directory| tree::read(directory)).collect()
}

fn counts(digests: impl IntoIterator<Item = Digest>) -> BTreeMap<Digest, usize> {
    let mut counts = BTreeMap::new();
    for digest in digests {
        *counts.entry(digest).or_insert(0) += 1;
    }
    counts
}

#[test]
fn every_containerd_unpacks_the_torture_image_alike_and_runs_it() {
    let registry = Registry::start().unwrap();
    let image = torture().unwrap();
    let reference = registry.push(&image, "lab/torture:1").unwrap();
    let name = reference.to_string();
    let seen = Mutex::new(Vec::new());
    on_each(|containerd| {
        assert_eq!(containerd.image_status(&name)?, None);
        containerd.pull(&reference)?;
        assert_eq!(containerd.run(&name, &[])?, printed("survived\n"));
        let missing = containerd.run(&name, &["cat", "/gone"])?;
        assert_eq!((missing.exit_code, missing.stderr.contains("No such file")), (1, true), "{missing:?}");
        seen.lock().unwrap().push(unpacked(containerd, &image)?);
        Ok(())
    })
    .unwrap();
    let seen = seen.into_inner().unwrap();
    for (number, layer) in image.layers.iter().enumerate() {
        for other in &seen[1..] {
            let differences = tree::diff(&seen[0][number], &other[number], |path| !layer.names(path));
            assert_eq!(differences, [""; 0], "layer {number}");
        }
    }
    let blobs = image.layer_digests().into_iter().chain([image.config.descriptor.digest]);
    let once_each = blobs.map(|digest| (digest, Version::ALL.len())).collect();
    assert_eq!(counts(registry.blob_gets(0).unwrap()), once_each);
}

#[test]
fn containers_live_through_a_restart_and_a_collection_of_garbage() {
    let registry = Registry::start().unwrap();
    let reference = registry.push(&deep(3).unwrap(), "lab/lasting:1").unwrap();
    on_each(|containerd| {
        containerd.pull(&reference)?;
        let lasting = containerd.start_container(&reference.to_string(), &["sleep", "600"])?;
        containerd.restart()?;
        containerd.sync_gc()?;
        assert!(lasting.is_running()?);
        assert_eq!(lasting.exec(&["cat", "/level"])?, printed("2\n"));
        containerd.remove_image(&reference.to_string())?;
        assert_eq!(containerd.image_status(&reference.to_string())?, None);
        Ok(())
    })
    .unwrap();
}

#[test]
fn programs_of_debian_packages_run() {
    let registry = Registry::start().unwrap();
    let packages = Suite::Bookworm.packages(&["libc6", "dash"]).unwrap();
    let layer =
        |package| LayerBuilder::default().entries(package_entries(package).unwrap()).build(Compression::Zstd);
    let layers: Vec<_> = packages.iter().map(|package| layer(package).unwrap()).collect();
    let image = ImageBuilder::default().layers(&layers).env(&["WORD=packaged"]).entrypoint(&["/bin/dash"]);
    let image = image.cmd(&["-c", "echo $WORD"]).build();
    let containerd = Containerd::start(Version::V1_7).unwrap();
    let reference = registry.push(&image, "lab/dash:1").unwrap();
    containerd.pull(&reference).unwrap();
    assert_eq!(containerd.run(&reference.to_string(), &[]).unwrap(), printed("packaged\n"));
}

#[test]
fn an_image_of_120_layers_runs() {
    let registry = Registry::start().unwrap();
    let image = deep(120).unwrap();
    let reference = registry.push(&image, "lab/deep:1").unwrap();
    on_each(|containerd| {
        containerd.pull(&reference)?;
        assert_eq!(containerd.run(&reference.to_string(), &[])?, printed("119\n"));
        assert_eq!(unpacked(containerd, &image)?.len(), 120);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_second_image_pulls_only_what_the_first_has_not_brought() {
    let registry = Registry::start().unwrap();
    let base = busybox().unwrap().build(Compression::Zstd).unwrap();
    let own = LayerBuilder::default().entry(Entry::file("own", "x")).build(Compression::Gzip).unwrap();
    let first = ImageBuilder::default().layer(&base).cmd(&["true"]).build();
    let second = ImageBuilder::default().layer(&base).layer(&own).cmd(&["cat", "/own"]).build();
    let containerd = Containerd::start(Version::V2_1).unwrap();
    containerd.pull(&registry.push(&first, "lab/first:1").unwrap()).unwrap();
    let before = registry.requests().unwrap().len();
    let second_reference = registry.push(&second, "lab/second:1").unwrap();
    containerd.pull(&second_reference).unwrap();
    let expected = counts([own.digest, second.config.descriptor.digest]);
    assert_eq!(counts(registry.blob_gets(before).unwrap()), expected);
    let by_digest = second_reference.at(second.digest()).to_string();
    assert_eq!(containerd.run(&second_reference.to_string(), &[]).unwrap(), printed("x"));
    assert!(containerd.image_status(&by_digest).unwrap().is_some());
}

#[test]
fn an_index_serves_this_platform_and_credentials_are_asked_for() {
    let credentials = Credentials { user: "lab".to_owned(), password: "se cret".to_owned() };
    let registry = Registry::start_with_basic_auth(credentials.clone()).unwrap();
    let base = busybox().unwrap();
    let other = ImageBuilder::default().platform("linux/s390x".parse().unwrap());
    let other = other.layer(&base.build(Compression::None).unwrap()).build();
    let docker = ImageBuilder::default().family(Family::Docker).cmd(&["echo", "docker"]);
    let docker = docker.layer(&base.build(Compression::Gzip).unwrap()).build();
    let reference = registry.push_multi(&MultiImage::of(vec![other, docker]), "lab/multi:1").unwrap();
    on_each(|containerd| {
        assert!(containerd.pull(&reference).is_err());
        containerd.pull_as(&reference, &credentials)?;
        assert_eq!(containerd.run(&reference.to_string(), &[])?, printed("docker\n"));
        Ok(())
    })
    .unwrap();
}

#[test]
fn layouts_and_archives_are_what_containerd_imports() {
    let dir = tempfile::tempdir().unwrap();
    let image = deep(2).unwrap();
    let containerd = Containerd::start(Version::V1_7).unwrap();
    let archive = dir.path().join("archive.tar");
    image.write_docker_archive(&archive, "example.test/archive:1").unwrap();
    let layout = dir.path().join("layout");
    fs::create_dir(&layout).unwrap();
    image.write_layout(&layout, "example.test/layout:1").unwrap();
    let packed = dir.path().join("layout.tar");
    let mut tar = std::process::Command::new("tar");
    larder_tests::process::run(tar.arg("-C").arg(&layout).arg("-cf").arg(&packed).arg(".")).unwrap();
    for (file, name) in [(archive, "example.test/archive:1"), (packed, "example.test/layout:1")] {
        containerd.ctr(&["images", "import", "--index-name", name, file.to_str().unwrap()]).unwrap();
        assert_eq!(containerd.run(name, &[]).unwrap(), printed("1\n"));
    }
}

#[test]
fn a_planted_difference_is_found() {
    let registry = Registry::start().unwrap();
    let image = deep(2).unwrap();
    let reference = registry.push(&image, "lab/planted:1").unwrap();
    let containerd = Containerd::start(Version::V1_6).unwrap();
    containerd.pull(&reference).unwrap();
    let directory = containerd.layer_directory(image.chain_ids()[1]).unwrap();
    let before = tree::read(&directory).unwrap();
    fs::hard_link(directory.join("level"), directory.join("level-too")).unwrap();
    let after = tree::read(&directory).unwrap();
    let differences = tree::diff(&before, &after, <[u8]>::is_empty);
    let links = "/level: links: 1 with /level != 2 with /level";
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert_eq!(differences[0], links);
    assert!(differences[1].starts_with("/level-too: only right: File"), "{differences:?}");
}
