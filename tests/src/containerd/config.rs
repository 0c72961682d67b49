//! The configuration: version 2, which all of them read. Everything that would lie in a place of the machine's goes
//! below `dir`, so that containerds of several tests do not meet.

use std::path::Path;

use super::PAUSE;

/// What is not needed here, takes time to start or has sockets of its own; each version skips the names it does not know.
const DISABLED: [&str; 9] = [
    "io.containerd.internal.v1.tracing",
    "io.containerd.nri.v1.nri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
];

/// Three settings are for machines without `CAP_SYS_RESOURCE` and with control groups version 1: a build machine in a
/// container has neither hugetlb nor the right to lower an OOM score.
pub(super) fn toml(dir: &Path, runc: &Path) -> String {
    let (dir, runc) = (dir.display(), runc.display());
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = {DISABLED:?}

[grpc]
address = "{dir}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{dir}/cni/bin"
conf_dir = "{dir}/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{dir}/certs.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#
    )
}
