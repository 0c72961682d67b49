//! The file system's own check, with the paths of the files that its findings are about.

use std::collections::BTreeSet;

use super::Owners;
use super::problem::{Place, Problems};
use crate::ext4::read::ReadError;
use crate::medium::Medium;

pub(super) fn check(medium: &Medium, owners: &Owners, problems: &Problems) {
    let Some(findings) = medium.check() else { return };
    let inodes: BTreeSet<u32> = findings.list.iter().filter_map(ReadError::inode).collect();
    let paths = medium.paths(&inodes);
    for finding in &findings.list {
        let path = finding.inode().and_then(|inode| paths.get(&inode));
        let place = path.map_or(Place::Disk, |path| owners.path(&path.escape_ascii().to_string()));
        problems.error(place, finding);
    }
    problems.omit(findings.omitted);
}
