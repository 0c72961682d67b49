//! Pods with mapped users. They need a network of their own, for the host's cannot be shown in their `/sys`; here it has no way out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use larder_proto::cri::{IdMapping, NamespaceMode, NamespaceOption, UserNamespace};

/// The first of the host's users that stand for the pod's, far above those of people and services.
const FIRST: u32 = 1 << 24;
/// As many as the kubelet gives a pod.
const COUNT: u32 = 1 << 16;

/// A network plugin that does nothing and says that it did: containerd asks for an address.
const PLUGIN: &str = r#"#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}' ;;
ADD)
    echo '{"cniVersion":"0.3.1","interfaces":[{"name":"'"$CNI_IFNAME"'","sandbox":"'"$CNI_NETNS"'"}],'
    echo '"ips":[{"version":"4","address":"192.0.2.2/24","interface":0}]}'
    ;;
esac
"#;
const NETWORK: &str = r#"{"cniVersion":"0.3.1","name":"none","plugins":[{"type":"none"}]}"#;

/// Debian's runc, of which 1.1.5 starts here, knows no idmapped mounts, and containerd 2.x asks. They are for volumes and the
/// files that the kubelet puts into a container; its root is mounted by containerd, and that is what tests look at.
const RUNC: &str = r#"#!/bin/sh
[ "$1" = features ] || exec RUNC "$@"
RUNC features | sed 's/"linux": {/"linux": {"mountExtensions": {"idmap": {"enabled": true}},/'
"#;

/// Puts the plugin where the containerd in `dir` looks for it, also as the one for the loopback interface; returns its runc.
pub(super) fn prepare(dir: &Path, runc: &Path) -> Result<PathBuf> {
    let (bin, config) = (dir.join("cni/bin"), dir.join("cni/net.d"));
    for directory in [&bin, &config] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    for name in ["none", "loopback"] {
        program(&bin.join(name), PLUGIN)?;
    }
    fs::write(config.join("10-none.conflist"), NETWORK).context("write the network's configuration")?;
    let wrapper = dir.join("runc");
    program(&wrapper, &RUNC.replace("RUNC", &runc.display().to_string()))?;
    Ok(wrapper)
}

fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("make it a program")
}

/// What the kubelet asks for.
pub(super) fn options() -> NamespaceOption {
    let mapping = IdMapping { host_id: FIRST, container_id: 0, length: COUNT };
    NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: NamespaceMode::Container.into(),
        userns_options: Some(UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![mapping],
            gids: vec![mapping],
        }),
        ..NamespaceOption::default()
    }
}
