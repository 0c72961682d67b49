//! The overlayfs snapshotter's own directories: `<root>/snapshots/<N>/fs`. What does not look like that is refused.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use larder_proto::containerd::types::Mount;

/// Why the snapshotter's directories are not what Larder knows.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// Something about the file system failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory that containerd names is not one here.
    #[error(
        "containerd keeps its overlayfs snapshots in {0}/snapshots, which is not here: is this the node's own file system?"
    )]
    NotHere(PathBuf),
    /// containerd mounts snapshots in a way that Larder does not know.
    #[error("containerd mounts a new snapshot in an unknown way: {0}")]
    UnknownMount(String),
    /// Rootless overlayfs looks for its marks in other attributes than those on the disk.
    #[error("containerd mounts overlayfs with userxattr, for which cache disks are not made")]
    UserXattr,
    /// A new snapshot is not empty.
    #[error("the new snapshot's directory {0} is not an empty directory")]
    NotEmpty(PathBuf),
}

/// The snapshotter's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverlayRoot(PathBuf);

/// A layer whose content is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// `<root>/snapshots/<N>/fs`.
    pub(crate) path: PathBuf,
    /// Where it leads.
    pub(crate) target: PathBuf,
}

impl OverlayRoot {
    /// Checks that the directory that containerd names is on this host. Its `metadata.db` comes with the first snapshot only.
    pub(crate) fn open(root: &Path) -> Result<Self, OverlayError> {
        if root.join("snapshots").is_dir() {
            return Ok(Self(root.to_owned()));
        }
        Err(OverlayError::NotHere(root.to_owned()))
    }

    /// The directory that a new snapshot's files would go to, from how it would be mounted.
    pub(crate) fn upper(&self, mounts: &[Mount]) -> Result<PathBuf, OverlayError> {
        let unknown = || OverlayError::UnknownMount(describe(mounts));
        let [mount] = mounts else { return Err(unknown()) };
        if mount.options.iter().any(|option| option == "userxattr") {
            return Err(OverlayError::UserXattr);
        }
        let upper = match mount.r#type.as_str() {
            "bind" => Some(mount.source.as_str()),
            "overlay" => mount.options.iter().find_map(|option| option.strip_prefix("upperdir=")),
            _ => None,
        };
        let upper = upper.map(Path::new).filter(|upper| self.is_upper(upper));
        upper.map(Path::to_owned).ok_or_else(unknown)
    }

    fn is_upper(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(self.0.join("snapshots")) else { return false };
        let parts: Vec<_> = rest.components().collect();
        let [Component::Normal(number), Component::Normal(fs)] = parts[..] else { return false };
        fs == "fs" && number.to_str().is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
    }

    /// The snapshots of any namespace that are links to somewhere below `place`.
    pub(crate) fn links_below(&self, place: &Path) -> Result<Vec<Link>, OverlayError> {
        let snapshots = self.0.join("snapshots");
        let mut links = Vec::new();
        for entry in snapshots.read_dir().map_err(failed("list", &snapshots))? {
            let path = entry.map_err(failed("list", &snapshots))?.path().join("fs");
            let target = fs::read_link(&path).ok().filter(|target| target.starts_with(place));
            links.extend(target.map(|target| Link { path, target }));
        }
        Ok(links)
    }

    /// How many they are.
    pub(crate) fn count_links_below(&self, place: &Path) -> Result<usize, OverlayError> {
        Ok(self.links_below(place)?.len())
    }
}

fn describe(mounts: &[Mount]) -> String {
    let one = |mount: &Mount| format!("{} {} {}", mount.r#type, mount.source, mount.options.join(","));
    mounts.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Replaces the empty directory of a new snapshot by a link, and makes sure that this outlives a power failure:
/// containerd's database, which the commit writes, would else name a snapshot that has neither.
pub(crate) fn replace_by_link(upper: &Path, target: &Path) -> Result<(), OverlayError> {
    let metadata = fs::symlink_metadata(upper).map_err(failed("read", upper))?;
    let empty = metadata.is_dir() && upper.read_dir().map_err(failed("list", upper))?.next().is_none();
    if !empty {
        return Err(OverlayError::NotEmpty(upper.to_owned()));
    }
    fs::remove_dir(upper).map_err(failed("remove", upper))?;
    symlink(target, upper).map_err(failed("link", upper))?;
    let parent = upper.parent().unwrap_or(upper);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("sync", parent))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OverlayError + use<> {
    let path = path.to_owned();
    move |source| OverlayError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(r#type: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Mount { r#type: r#type.to_owned(), source: source.to_owned(), target: String::new(), options }
    }

    #[test]
    fn the_upper_directory_is_read_from_both_kinds_of_mount() {
        let root = OverlayRoot("/c/o".into());
        let bind = mount("bind", "/c/o/snapshots/7/fs", &["rw", "rbind"]);
        assert_eq!(root.upper(&[bind]).unwrap(), Path::new("/c/o/snapshots/7/fs"));
        let options = [
            "index=off",
            "workdir=/c/o/snapshots/8/work",
            "upperdir=/c/o/snapshots/8/fs",
            "lowerdir=/c/o/snapshots/7/fs",
        ];
        let overlay = mount("overlay", "overlay", &options);
        assert_eq!(root.upper(&[overlay]).unwrap(), Path::new("/c/o/snapshots/8/fs"));
    }

    #[test]
    fn a_layout_that_is_not_known_is_refused() {
        let root = OverlayRoot("/c/o".into());
        let bind = |source: &str| mount("bind", source, &["rw"]);
        let unknown = [
            vec![],
            vec![bind("/c/o/snapshots/7/fs"), bind("/c/o/snapshots/8/fs")],
            vec![bind("/c/other/snapshots/7/fs")],
            vec![bind("/c/o/snapshots/7/fs/x")],
            vec![bind("/c/o/snapshots/../fs")],
            vec![bind("/c/o/snapshots/7/work")],
            vec![mount("overlay", "overlay", &["lowerdir=/c/o/snapshots/7/fs"])],
            vec![mount("erofs", "/c/o/snapshots/7/fs", &[])],
        ];
        for mounts in unknown {
            assert!(matches!(root.upper(&mounts), Err(OverlayError::UnknownMount(_))), "{mounts:?}");
        }
        let rootless = mount("overlay", "overlay", &["userxattr", "upperdir=/c/o/snapshots/8/fs"]);
        assert!(matches!(root.upper(&[rootless]), Err(OverlayError::UserXattr)));
    }

    #[test]
    fn only_an_empty_directory_becomes_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(matches!(OverlayRoot::open(root), Err(OverlayError::NotHere(_))));
        for upper in ["snapshots/1/fs", "snapshots/2/fs/etc"] {
            fs::create_dir_all(root.join(upper)).unwrap();
        }
        let overlay = OverlayRoot::open(root).unwrap();
        let (one, two) = (root.join("snapshots/1/fs"), root.join("snapshots/2/fs"));
        let target = Path::new("/disks/ab/snapshots/4/fs");
        replace_by_link(&one, target).unwrap();
        assert_eq!(fs::read_link(&one).unwrap(), target);
        assert!(matches!(replace_by_link(&two, target), Err(OverlayError::NotEmpty(_))));
        assert!(matches!(replace_by_link(&one, target), Err(OverlayError::NotEmpty(_))));
        assert!(two.join("etc").is_dir());
        assert_eq!(overlay.count_links_below(Path::new("/disks/ab")).unwrap(), 1);
        assert_eq!(overlay.count_links_below(Path::new("/disks/a")).unwrap(), 0);
    }
}
