//! Whether a containerd is one that Larder attaches to, judged from what it says of itself.

use std::path::{Path, PathBuf};

use crate::containerd::{Peer, Plugin, SNAPSHOTTER};

const SNAPSHOTTERS: &str = "io.containerd.snapshotter.v1";
/// containerd's name of the snapshotter's directory below its root, where no other is configured.
const DIRECTORY: &str = "io.containerd.snapshotter.v1.overlayfs";

/// Why this containerd is not one that Larder attaches to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PreflightError {
    /// Not built in.
    #[error("this containerd has no overlayfs snapshotter")]
    NoSnapshotter,
    /// Built in, but not loaded.
    #[error("containerd's overlayfs snapshotter is not loaded: {0}")]
    NotLoaded(String),
    /// Loaded, but it does not say where.
    #[error("containerd does not say where its overlayfs snapshots are")]
    NoDirectory,
    /// The named root is another containerd's.
    #[error("containerd keeps its overlayfs snapshots in {directory}, not in the given root {root}")]
    OtherRoot {
        /// What was given.
        root: PathBuf,
        /// What containerd says.
        directory: PathBuf,
    },
    /// Not containerd, but another runtime with CRI.
    #[error(
        "the runtime at {socket} is {name}: images are attached to containerd only; use `larder fetch` to prefetch through CRI"
    )]
    OtherRuntime {
        /// Where it listens.
        socket: PathBuf,
        /// What it calls itself.
        name: String,
    },
    /// Its overlayfs takes its marks from `user.overlay`, and the disk has them in `trusted.overlay`.
    #[error(
        "containerd at {socket} is rootless ({why}), so that it mounts overlayfs with userxattr, for which cache disks are not made: \
         use a containerd that root runs, or `larder fetch` to prefetch through CRI"
    )]
    Rootless {
        /// Where it listens.
        socket: PathBuf,
        /// What tells it.
        why: String,
    },
    /// Docker's containerd package, for one, disables it.
    #[error(
        "containerd's CRI plugin is not loaded: {0}; where only Docker uses this containerd, it has no use for attached images, and else \
         take \"cri\" out of disabled_plugins"
    )]
    NoCri(String),
    /// CRI unpacks images with another snapshotter.
    #[error(
        "CRI keeps its images in {directory}, not in {overlayfs}: only the overlayfs snapshotter is served"
    )]
    OtherSnapshotter {
        /// CRI's directory.
        directory: PathBuf,
        /// The overlayfs snapshotter's.
        overlayfs: PathBuf,
    },
    /// CRI names none, so that its snapshotter is unknown.
    #[error("CRI does not say where it keeps its images, so that its snapshotter cannot be told")]
    UnknownSnapshotter,
}

/// What the file system's own user namespace maps, as `/proc/<pid>/uid_map` has it (`user_namespaces(7)`).
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// A containerd that another user than root runs, or that runs in a user namespace, where `user_map` could be read.
pub(super) fn check_rootful(socket: &Path, peer: Peer, user_map: Option<&str>) -> Result<(), PreflightError> {
    let why = match user_map {
        _ if peer.uid != 0 => format!("user {} runs it", peer.uid),
        Some(map) if !map.split_whitespace().eq(ALL_USERS) => "it runs in a user namespace".to_owned(),
        _ => return Ok(()),
    };
    Err(PreflightError::Rootless { socket: socket.to_owned(), why })
}

/// Whoever does not know containerd's calls is refused by the name that CRI gives, if it gives one.
pub(super) fn check_name(socket: &Path, name: Option<&str>) -> Result<(), PreflightError> {
    let name = match name {
        None => return Ok(()),
        Some("cri-o") => "CRI-O".to_owned(),
        Some("docker") => "Docker with cri-dockerd".to_owned(),
        Some(other) => other.to_owned(),
    };
    Err(PreflightError::OtherRuntime { socket: socket.to_owned(), name })
}

/// The overlayfs snapshotter's directory.
pub(super) fn snapshot_directory(plugins: &[Plugin]) -> Result<&Path, PreflightError> {
    let overlayfs = plugins.iter().find(|plugin| plugin.kind == SNAPSHOTTERS && plugin.id == SNAPSHOTTER);
    match overlayfs {
        None => Err(PreflightError::NoSnapshotter),
        Some(Plugin { error: Some(error), .. }) => Err(PreflightError::NotLoaded(error.clone())),
        Some(Plugin { root, .. }) => root.as_deref().ok_or(PreflightError::NoDirectory),
    }
}

/// A root that was given must be the one that the snapshots are in.
pub(super) fn check_root(root: &Path, directory: &Path) -> Result<(), PreflightError> {
    if directory == root.join(DIRECTORY) {
        return Ok(());
    }
    Err(PreflightError::OtherRoot { root: root.to_owned(), directory: directory.to_owned() })
}

/// CRI is a plugin, and may be off.
pub(super) fn check_cri(plugins: &[Plugin]) -> Result<(), PreflightError> {
    match plugins.iter().find(|plugin| plugin.kind == "io.containerd.grpc.v1" && plugin.id == "cri") {
        None => Err(PreflightError::NoCri("it is disabled or not built in".to_owned())),
        Some(Plugin { error: Some(error), .. }) => Err(PreflightError::NoCri(error.clone())),
        Some(_) => Ok(()),
    }
}

/// CRI's default snapshotter, which is the first that it names, must be overlayfs. containerd 1.x names the standard directory
/// even where another is configured; 2.x no longer tells the snapshotter in its `Status`, so this is the one sign that all give.
pub(super) fn check_cri_snapshotter(images: &[PathBuf], overlayfs: &Path) -> Result<(), PreflightError> {
    match images {
        [] => Err(PreflightError::UnknownSnapshotter),
        [first, ..] if first == overlayfs || first.ends_with(DIRECTORY) => Ok(()),
        [first, ..] => Err(PreflightError::OtherSnapshotter {
            directory: first.clone(),
            overlayfs: overlayfs.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(kind: &str, id: &str, root: Option<&str>, error: Option<&str>) -> Plugin {
        Plugin {
            kind: kind.to_owned(),
            id: id.to_owned(),
            root: root.map(PathBuf::from),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn the_snapshotter_must_be_loaded_and_say_where_it_is() {
        let native = plugin(SNAPSHOTTERS, "native", Some("/c/native"), None);
        let broken = plugin(SNAPSHOTTERS, "overlayfs", Some("/c/o"), Some("no overlay in the kernel"));
        let silent = plugin(SNAPSHOTTERS, "overlayfs", None, None);
        let good = plugin(SNAPSHOTTERS, "overlayfs", Some("/c/o"), None);
        let find = |plugin: Plugin| snapshot_directory(&[native.clone(), plugin]).map(Path::to_owned);
        assert_eq!(find(native.clone()), Err(PreflightError::NoSnapshotter));
        assert_eq!(find(broken), Err(PreflightError::NotLoaded("no overlay in the kernel".to_owned())));
        assert_eq!(find(silent), Err(PreflightError::NoDirectory));
        assert_eq!(find(good), Ok(PathBuf::from("/c/o")));
    }

    #[test]
    fn a_rootless_containerd_is_refused() {
        let check = |uid, map| check_rootful(Path::new("/s"), Peer { uid, pid: None }, map);
        assert_eq!(check(0, None), Ok(()));
        assert_eq!(check(0, Some("         0          0 4294967295\n")), Ok(()));
        for (uid, map) in
            [(1000, None), (0, Some("0 1000 1\n1 100000 65536\n")), (0, Some("0 100000 65536\n"))]
        {
            let error = check(uid, map).unwrap_err().to_string();
            assert!(error.contains("userxattr") && error.contains("larder fetch"), "{error}");
        }
    }

    #[test]
    fn another_runtime_is_refused_by_its_name() {
        let refused = |name| check_name(Path::new("/s"), Some(name)).unwrap_err().to_string();
        assert!(refused("cri-o").starts_with("the runtime at /s is CRI-O: "));
        assert!(refused("docker").contains("is Docker with cri-dockerd: "));
        assert_eq!(check_name(Path::new("/s"), None), Ok(()));
    }

    #[test]
    fn a_given_root_must_agree() {
        let directory = Path::new("/c/io.containerd.snapshotter.v1.overlayfs");
        assert_eq!(check_root(Path::new("/c/"), directory), Ok(()));
        assert!(matches!(check_root(Path::new("/d"), directory), Err(PreflightError::OtherRoot { .. })));
    }

    #[test]
    fn cri_must_be_on() {
        let kind = "io.containerd.grpc.v1";
        assert!(matches!(check_cri(&[plugin(kind, "images", None, None)]), Err(PreflightError::NoCri(_))));
        assert!(matches!(check_cri(&[plugin(kind, "cri", None, Some("x"))]), Err(PreflightError::NoCri(_))));
        assert_eq!(check_cri(&[plugin(kind, "cri", None, None)]), Ok(()));
    }

    #[test]
    fn the_default_snapshotter_of_cri_must_be_overlayfs() {
        let standard = PathBuf::from("/c/io.containerd.snapshotter.v1.overlayfs");
        let erofs = PathBuf::from("/c/io.containerd.snapshotter.v1.erofs");
        let elsewhere = Path::new("/fast/overlay");
        assert_eq!(check_cri_snapshotter(&[standard.clone(), erofs.clone()], &standard), Ok(()));
        assert_eq!(check_cri_snapshotter(std::slice::from_ref(&standard), elsewhere), Ok(()));
        assert_eq!(check_cri_snapshotter(&[elsewhere.to_owned()], elsewhere), Ok(()));
        let other = check_cri_snapshotter(&[erofs, standard.clone()], &standard);
        assert!(matches!(other, Err(PreflightError::OtherSnapshotter { .. })));
        assert_eq!(check_cri_snapshotter(&[], &standard), Err(PreflightError::UnknownSnapshotter));
    }
}
