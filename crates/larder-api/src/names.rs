//! Annotations, labels, finalizers and field managers: names that clusters already hold, so changing one breaks them.

/// On an `ImageCache`: its images leave the nodes. The releases' annotation; the value is free.
pub const PURGE: &str = "kubefledged.io/purge-imagecache";
/// On an `ImageCache`: look at every node again now. The releases' annotation; each new value counts, and the controller takes it off.
pub const REFRESH: &str = "kubefledged.io/refresh-imagecache";
/// Keeps a deleted `ImageCache` until its images have left the nodes, or the time for it is over.
pub const FINALIZER: &str = "kubefledged.io/purge";
/// On a Node: `true` while everything that its set wants is warm, else `false`.
pub const NODE_WARM: &str = "larder.dev/images-warm";
/// The Node condition of the same meaning.
pub const NODE_CONDITION: &str = "ImagesWarm";
/// On a pull Job and its pod: the node that it warms.
pub const JOB_NODE: &str = "larder.dev/node";
/// On what the controller makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of `MANAGED_BY`, and the controller's field manager.
pub const CONTROLLER: &str = "larder-controller";
/// The agent's field manager.
pub const AGENT: &str = "larder-agent";
