//! The labels that Larder puts on what it creates in containerd, and those of containerd's own that it uses.
//! Changing one of ours makes what earlier versions attached look like somebody else's.

/// On an image record: kubelet's garbage collection leaves it (CRI).
pub(crate) const PINNED: &str = "io.cri-containerd.pinned";
/// On a lease: when containerd drops it by itself, RFC 3339.
pub(crate) const GC_EXPIRE: &str = "containerd.io/gc.expire";
/// On a configuration: the snapshot that it keeps.
pub(crate) const GC_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.overlayfs";
/// On a manifest: the configuration that it keeps.
pub(crate) const GC_CONFIG: &str = "containerd.io/gc.ref.content.config";
/// On an index, followed by the position: the manifest that it keeps.
pub(crate) const GC_MANIFEST: &str = "containerd.io/gc.ref.content.m.";

/// On an image record or a snapshot: Larder made it, from the disk of this id.
pub(crate) const DISK: &str = "dev.larder/disk";
/// On a snapshot: the layer's directory on that disk, `snapshots/<N>/fs`.
pub(crate) const DIRECTORY: &str = "dev.larder/directory";
/// On an image record: whether somebody asked for this name ([`AS_REFERENCE`]) or it goes with one ([`AS_DIGEST`]).
pub(crate) const AS: &str = "dev.larder/as";
pub(crate) const AS_REFERENCE: &str = "reference";
pub(crate) const AS_DIGEST: &str = "digest";
/// On a lease: the state directory of the Larder that took it.
pub(crate) const OWNER: &str = "dev.larder/state-dir";
/// On an image record: the agent pinned it, and may unpin it.
pub(crate) const PINNED_BY: &str = "dev.larder/pinned-by";
pub(crate) const PINNED_BY_AGENT: &str = "agent";
