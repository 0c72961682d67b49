//! Whether a containerd is one that Larder attaches to, judged from what it says of itself.

use std::path::{Path, PathBuf};

use crate::containerd::{Plugin, SNAPSHOTTER};

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
    /// Docker's containerd package, for one, disables it.
    #[error("containerd's CRI plugin is not loaded: {0}")]
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
