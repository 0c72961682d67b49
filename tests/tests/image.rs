//! Larder's own image, run by a real containerd.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use larder_tests::containerd::{Containerd, Version};
use larder_tests::image::product;
use larder_tests::larder::binary;
use larder_tests::registry::Registry;

#[test]
fn larders_own_image_has_the_same_bytes_each_time_and_runs() {
    let binary = binary().unwrap();
    let image = product(&binary, "0.0.0-test").unwrap();
    assert_eq!(image.digest(), product(&binary, "0.0.0-test").unwrap().digest());
    assert_ne!(image.digest(), product(&binary, "0.0.1-test").unwrap().digest());

    let registry = Registry::start().unwrap();
    let name = registry.push(&image, "larder:test").unwrap();
    let containerd = Containerd::start(Version::V2_1).unwrap();
    containerd.pull(&name).unwrap();
    let version = format!("larder {}\n", env!("CARGO_PKG_VERSION"));
    for argv in [&["larder", "--version"][..], &["/usr/local/bin/larder", "--version"]] {
        let ran = containerd.run(&name.to_string(), argv).unwrap();
        assert_eq!((ran.exit_code, ran.stdout.as_str(), ran.stderr.as_str()), (0, version.as_str(), ""));
    }
    // The image's own command, and its links.
    let own = containerd.run(&name.to_string(), &[]).unwrap();
    assert!(own.exit_code == 2 && own.stderr.contains("Usage: larder"), "{own:?}");
    for link in ["image-prefetcher", "gke-image-cache-builder"] {
        let ran = containerd.run(&name.to_string(), &[link, "--version"]).unwrap();
        assert_eq!(ran.exit_code, 0, "{link}: {}", ran.stderr);
    }
}
