//! The links among the snapshotter's directories: listed, and led elsewhere.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{OverlayError, OverlayRoot, failed};

/// Beside a layer's `fs`, what is to take its place. containerd removes a snapshot's directory with all that is in it.
pub(super) const NEXT: &str = "fs.larder";

/// A layer whose content is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// `<root>/snapshots/<N>/fs`.
    pub(crate) path: PathBuf,
    /// Where it leads.
    pub(crate) target: PathBuf,
}

impl OverlayRoot {
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

/// Leads a link to `target`, at once: whoever opens the layer sees the one or the other. Containers that run have opened it
/// already and stay with what they have.
pub(crate) fn redirect(link: &Path, target: &Path) -> Result<(), OverlayError> {
    let next = link.with_file_name(NEXT);
    remove(&next)?;
    symlink(target, &next).map_err(failed("link", &next))?;
    fs::rename(&next, link).map_err(failed("replace", link))?;
    sync_directory(link)
}

/// Removes what an earlier run that was killed has left there.
pub(super) fn remove(next: &Path) -> Result<(), OverlayError> {
    let removed = match fs::symlink_metadata(next) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(next),
        Ok(_) => fs::remove_file(next),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(failed("remove", next))
}

/// Makes sure that what was renamed into the directory of `path` outlives a power failure.
pub(super) fn sync_directory(path: &Path) -> Result<(), OverlayError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("sync", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_led_elsewhere_also_after_a_run_that_was_killed() {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("snapshots/7");
        fs::create_dir_all(layer.join(NEXT).join("half")).unwrap();
        symlink("/disks/old/snapshots/1/fs", layer.join("fs")).unwrap();
        let overlay = OverlayRoot::open(directory.path()).unwrap();
        let new = Path::new("/disks/new/snapshots/4/fs");
        redirect(&layer.join("fs"), new).unwrap();
        let link = Link { path: layer.join("fs"), target: new.to_owned() };
        assert_eq!(overlay.links_below(Path::new("/disks")).unwrap(), [link]);
        assert_eq!(overlay.count_links_below(Path::new("/disks/old")).unwrap(), 0);
        assert!(!layer.join(NEXT).exists());
    }
}
