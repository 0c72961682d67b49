//! Larder's own image, run by a real containerd.

use larder_tests::containerd::{Containerd, Version};
use larder_tests::debian::Suite;
use larder_tests::image::{product, product_suite};
use larder_tests::larder::binary;
use larder_tests::registry::Registry;

#[test]
fn larders_own_image_runs_on_its_suite_and_later_ones() {
    let binary = binary().unwrap();
    let registry = Registry::start().unwrap();
    let containerd = Containerd::start(Version::V2_1).unwrap();
    let own = product_suite().unwrap();
    for suite in [Suite::Bookworm, Suite::Trixie, Suite::Forky].into_iter().filter(|suite| *suite >= own) {
        let image = product(&binary, suite, "0.0.0-test").unwrap();
        let name = registry.push(&image, &format!("larder:{suite}")).unwrap();
        containerd.pull(&name).unwrap();
        let run = |argv: &[&str]| containerd.run(&name.to_string(), argv).unwrap();
        let version = run(&["larder", "--version"]);
        let expected = format!("larder {}\n", env!("CARGO_PKG_VERSION"));
        let seen = (version.exit_code, version.stdout.as_str(), version.stderr.as_str());
        assert_eq!(seen, (0, expected.as_str(), ""), "{suite}");
        // The image's own command.
        let bare = run(&[]);
        assert!(bare.exit_code == 2 && bare.stderr.contains("Usage: larder"), "{suite}: {bare:?}");
        for link in ["image-prefetcher", "gke-image-cache-builder"] {
            let ran = run(&[link, "--version"]);
            assert_eq!(ran.exit_code, 0, "{suite}: {link}: {}", ran.stderr);
        }
    }
}

#[test]
fn larders_own_image_has_the_same_bytes_each_time() {
    let binary = binary().unwrap();
    let digest = |version: &str| product(&binary, product_suite().unwrap(), version).unwrap().digest();
    assert_eq!(digest("0.0.0-test"), digest("0.0.0-test"));
    assert_ne!(digest("0.0.0-test"), digest("0.0.1-test"));
}
