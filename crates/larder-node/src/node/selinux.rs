//! The `SELinux` label that a disk's files are to have: a disk carries none, and confined containers may read only what is labelled
//! as containerd's own layers are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::lgetxattr;

/// Mounted where the kernel has `SELinux`, and it is not turned off.
const SELINUX_FS: &str = "/sys/fs/selinux/enforce";
const LABEL: &str = "security.selinux";
/// Labels are some dozen bytes; the kernel takes up to a page.
const MAX_LABEL: usize = 4096;

/// Why the label cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SelinuxError {
    /// It cannot be read.
    #[error("cannot read the SELinux label of {path}")]
    Read {
        /// The snapshots directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not one that can be given to a mount.
    #[error("the SELinux label {0:?} is not user:role:type[:range]")]
    Label(String),
}

/// The mount option that gives a disk the label of containerd's `snapshots` directory; none on a node without `SELinux`.
pub(crate) fn mount_option(snapshots: &Path) -> Result<Option<String>, SelinuxError> {
    if !fs::exists(SELINUX_FS).unwrap_or(false) {
        return Ok(None);
    }
    let mut label = Vec::with_capacity(MAX_LABEL);
    lgetxattr(snapshots, LABEL, spare_capacity(&mut label))
        .map_err(|errno| SelinuxError::Read { path: snapshots.to_owned(), source: errno.into() })?;
    option(&label).map(Some)
}

/// Quoted, for the categories at a label's end are separated by commas, as options are.
fn option(label: &[u8]) -> Result<String, SelinuxError> {
    let wrong = || SelinuxError::Label(String::from_utf8_lossy(label).into_owned());
    let text = label.strip_suffix(b"\0").unwrap_or(label);
    let text = str::from_utf8(text).map_err(|_| wrong())?;
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:,-".contains(c));
    let whole = text.splitn(4, ':').filter(|part| !part.is_empty()).count() >= 3;
    if !plain || !whole {
        return Err(wrong());
    }
    Ok(format!("context=\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_the_snapshots_becomes_a_quoted_option() {
        let fixtures = [
            (
                "system_u:object_r:container_var_lib_t:s0\0",
                "context=\"system_u:object_r:container_var_lib_t:s0\"",
            ),
            (
                "system_u:object_r:container_ro_file_t:s0:c1,c2",
                "context=\"system_u:object_r:container_ro_file_t:s0:c1,c2\"",
            ),
            ("root:object_r:data_t", "context=\"root:object_r:data_t\""),
        ];
        for (label, wanted) in fixtures {
            assert_eq!(option(label.as_bytes()).unwrap(), wanted);
        }
    }

    #[test]
    fn what_would_be_another_option_is_refused() {
        for label in ["", "\0", "unlabeled", "a:b", "a::b", "a:b:c\",suid,x=\"", "a:b:c d", "a:b:c\0:d"] {
            assert!(matches!(option(label.as_bytes()), Err(SelinuxError::Label(_))), "{label:?}");
        }
        assert!(option(b"a:b:\xff").is_err());
    }

    #[test]
    fn a_node_without_selinux_has_no_option() {
        if !Path::new(SELINUX_FS).exists() {
            assert_eq!(mount_option(Path::new("/nowhere")).unwrap(), None);
        }
    }
}
