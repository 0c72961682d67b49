//! Which programs the control plane is made of.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::build;
use crate::debian::Suite;

/// envtest's variable: a directory with `etcd` and `kube-apiserver`.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

#[derive(Debug)]
pub(super) struct Programs {
    pub(super) etcd: PathBuf,
    pub(super) api_server: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self> {
        if let Some(dir) = env::var_os(ASSETS).filter(|dir| !dir.is_empty()).map(PathBuf::from) {
            return Ok(Self { etcd: asset(&dir, "etcd")?, api_server: asset(&dir, "kube-apiserver")? });
        }
        let etcd = Suite::Trixie.package("etcd-server")?.file("usr/bin/etcd")?;
        Ok(Self { etcd, api_server: build::api_server()? })
    }
}

fn asset(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    ensure!(path.is_file(), "{ASSETS} names {}, which has no {name}", dir.display());
    Ok(path)
}
