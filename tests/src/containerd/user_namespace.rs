//! Pods with mapped users. They need a network of their own, for the host's cannot be shown in their `/sys`; here it has no way out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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

/// Puts the plugin where the containerd in `dir` looks for it, also as the one for the loopback interface.
pub(super) fn no_network(dir: &Path) -> Result<()> {
    let (bin, config) = (dir.join("cni/bin"), dir.join("cni/net.d"));
    for directory in [&bin, &config] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    for name in ["none", "loopback"] {
        let plugin = bin.join(name);
        fs::write(&plugin, PLUGIN).with_context(|| format!("write {}", plugin.display()))?;
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(config.join("10-none.conflist"), NETWORK).context("write the network's configuration")
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
