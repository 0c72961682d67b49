//! Ready-made layers and images.

use anyhow::Result;

use super::{Compression, Entry, Image, ImageBuilder, LayerBuilder};
use crate::debian::Suite;

const APPLETS: [&str; 14] =
    ["sh", "ash", "cat", "echo", "find", "id", "ls", "md5sum", "mount", "ps", "sleep", "stat", "true", "wc"];

/// A base that containers run on: busybox-static of Debian, its commonest names, `/tmp` and `/etc/passwd`.
pub fn busybox() -> Result<LayerBuilder> {
    let binary = Suite::Bookworm.package("busybox-static")?.file("bin/busybox")?;
    let size = binary.metadata()?.len();
    let dirs = ["bin", "dev", "etc", "proc", "sys"].map(Entry::dir);
    Ok(LayerBuilder::default()
        .entries(dirs)
        .entry(Entry::dir("tmp").mode(0o1777))
        .entry(Entry::file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"))
        .entry(Entry::file_from("bin/busybox", binary, size).mode(0o755))
        .entries(APPLETS.map(|applet| Entry::symlink(format!("bin/{applet}"), "busybox"))))
}

/// An image of `depth` small layers on busybox's: each adds a file of its own and replaces `/level`.
pub fn deep(depth: usize) -> Result<Image> {
    let mut image = ImageBuilder::default().layer(&busybox()?.build(Compression::Gzip)?);
    for level in 1..depth {
        let layer = LayerBuilder::default()
            .entry(Entry::dir("levels"))
            .entry(Entry::file(format!("levels/{level:03}"), format!("{level}\n")))
            .entry(Entry::file("level", format!("{level}\n")));
        image = image.layer(&layer.build(Compression::Gzip)?);
    }
    Ok(image.cmd(&["cat", "/level"]).build())
}
