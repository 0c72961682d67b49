//! The lab: real registries and real containerds on one machine, images made from Debian packages, and trees read back
//! from disk. Blocking calls throughout, usable from plain tests and from async ones; nothing here belongs to the product.

pub mod blocking;
pub mod cache;
pub mod chart;
pub mod containerd;
pub mod cri_server;
pub mod debian;
pub mod gate;
mod go;
pub mod image;
pub mod kubectl;
pub mod kubernetes;
pub mod kubernetes_schema;
pub mod larder;
pub mod loopdev;
pub mod node;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod systemd;
pub mod tree;
pub mod workdir;

use anyhow::{Result, ensure};

/// Says what to do where the lab needs root (containerd, mounts, devices) and does not have it.
pub fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab needs root for containerd and mounts: run it with sudo"
    );
    Ok(())
}
