//! Larder's own image: its program on what little of Debian the program needs. Dynamically linked, on Debian's C library,
//! because the credential plugins of nodes and registries, which it starts, are as often as not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, package_entries};
use crate::debian::{Package, Suite};
use crate::process::run;

const PROGRAM: &str = "usr/local/bin/larder";
/// The other names that the program answers to.
const NAMES: [&str; 2] = ["image-prefetcher", "gke-image-cache-builder"];
/// Nobody's, and a number: the kubelet must see that it is not root.
const USER: &str = "65532:65532";
const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nlarder:x:65532:65532:larder:/nonexistent:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nlarder:x:65532:\n";
const DESCRIPTION: &str = "Keeps container images in stock on every Kubernetes node";
const LIBRARIES: [&str; 2] = ["libc6", "libgcc-s1"];
/// Before and after Debian moved all below `/usr`.
const LIBRARY_PLACES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
const LOADER: &str = "ld-linux-x86-64.so.2";
const AUTHORITIES: &str = "usr/share/ca-certificates/mozilla";

/// The image of `binary`, which is of `version`, on the libraries of `suite`: the same program and packages give the same bytes.
pub fn product(binary: &Path, suite: Suite, version: &str) -> Result<Image> {
    let libraries = suite.packages(&LIBRARIES)?;
    starts(binary, &libraries)
        .with_context(|| format!("{} does not start on Debian {suite}: build it there", binary.display()))?;
    let base = base(&libraries, &suite.package("ca-certificates")?)?;
    let image = ImageBuilder::default()
        .layer(&base)
        .layer(&program(binary)?)
        .entrypoint(&["larder"])
        .env(&["PATH=/usr/local/bin"])
        .user(USER)
        .labels(&[
            ("org.opencontainers.image.title", "Larder"),
            ("org.opencontainers.image.description", DESCRIPTION),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
            ("org.opencontainers.image.version", version),
        ]);
    Ok(image.build())
}

/// The suite for programs that were built here: they run with the C library that they were built with, and with later ones. On a
/// machine that is no Debian, the oldest.
pub fn product_suite() -> Result<Suite> {
    Ok(suite_of(&fs::read_to_string("/etc/os-release").context("read /etc/os-release")?))
}

fn suite_of(os_release: &str) -> Suite {
    let codename = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suites = [Suite::Bookworm, Suite::Trixie, Suite::Forky];
    suites.into_iter().find(|suite| codename == Some(&suite.to_string())).unwrap_or(Suite::Bookworm)
}

/// Has the image's own C library load the program, here.
fn starts(binary: &Path, libraries: &[Package]) -> Result<()> {
    let directories =
        libraries.iter().flat_map(|package| LIBRARY_PLACES.map(|place| package.root.join(place)));
    let directories: Vec<_> = directories.filter(|directory| directory.is_dir()).collect();
    let mut loaders =
        directories.iter().map(|directory| directory.join(LOADER)).filter(|path| path.is_file());
    let loader = loaders.next().context("package libc6 has no program loader")?;
    let path: Vec<_> = directories.iter().map(|directory| directory.to_string_lossy()).collect();
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(path.join(":")).arg(binary).arg("--version");
    let said = run(&mut command)?;
    ensure!(said.starts_with("larder "), "it says {said:?} when asked for its version");
    Ok(())
}

fn base(libraries: &[Package], authorities: &Package) -> Result<Layer> {
    let mut layer = LayerBuilder::default().entries(["etc", "etc/ssl", "etc/ssl/certs"].map(Entry::dir));
    layer = layer
        .entry(Entry::dir("tmp").mode(0o1777))
        .entry(Entry::file("etc/passwd", PASSWD))
        .entry(Entry::file("etc/group", GROUP))
        .entry(Entry::file("etc/nsswitch.conf", "hosts: files dns\n"))
        .entry(Entry::file("etc/ssl/certs/ca-certificates.crt", bundle(authorities)?));
    let mut entries = Vec::new();
    for package in libraries {
        entries.extend(package_entries(package)?.into_iter().filter(is_needed));
    }
    // Where all is below /usr, the old names are links that belong to no library's package.
    for name in ["lib", "lib64"] {
        if !entries.iter().any(|entry| entry.path == name.as_bytes()) {
            layer = layer.entry(Entry::symlink(name, format!("usr/{name}")));
        }
    }
    layer.entries(entries).build(Compression::Gzip)
}

/// No documentation, locales or character sets: Larder and its plugins speak UTF-8.
fn is_needed(entry: &Entry) -> bool {
    let path = String::from_utf8_lossy(&entry.path);
    let library = ["lib", "usr/lib"].iter().any(|root| path.starts_with(root));
    let parent = path == "usr";
    (library || parent) && !path.contains("/gconv") && !path.contains("/locale")
}

fn bundle(authorities: &Package) -> Result<Vec<u8>> {
    let directory = authorities.root.join(AUTHORITIES);
    let entries = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut bundle = Vec::new();
    for file in &files {
        bundle.extend(fs::read(file).with_context(|| format!("read {}", file.display()))?);
    }
    ensure!(!bundle.is_empty(), "package {} has no authorities", authorities.name);
    Ok(bundle)
}

fn program(binary: &Path) -> Result<Layer> {
    let size = binary.metadata().with_context(|| format!("look at {}", binary.display()))?.len();
    LayerBuilder::default()
        .entries(["usr", "usr/local", "usr/local/bin"].map(Entry::dir))
        .entry(Entry::file_from(PROGRAM, binary.to_owned(), size).mode(0o755))
        .entries(NAMES.map(|name| Entry::symlink(format!("usr/local/bin/{name}"), "larder")))
        .build(Compression::Gzip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_machines_own_release() {
        assert_eq!(suite_of("ID=debian\nVERSION_CODENAME=trixie\n"), Suite::Trixie);
        assert_eq!(suite_of("VERSION_CODENAME=noble\n"), Suite::Bookworm);
        assert_eq!(suite_of(""), Suite::Bookworm);
    }
}
