//! Files as block devices, and block devices as mounts; both end with their guards.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::process::run;

/// Whether a loop device or mount takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It refuses them.
    ReadOnly,
    /// It takes them.
    ReadWrite,
}

/// A file attached to a loop device; detached on drop.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

/// A mounted ext4 file system; unmounted on drop.
#[derive(Debug)]
pub struct Mount {
    point: TempDir,
    _device: Option<LoopDevice>,
}

impl LoopDevice {
    /// Attaches `file` through the page cache.
    pub fn attach(file: &Path, access: Access) -> Result<Self> {
        Self::set_up(file, access, &[])
    }

    /// Attaches `file` with direct input and output, as a real disk has no second cache either.
    pub fn attach_direct(file: &Path, access: Access) -> Result<Self> {
        Self::set_up(file, access, &["--direct-io=on"])
    }

    fn set_up(file: &Path, access: Access, options: &[&str]) -> Result<Self> {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).args(options);
        if access == Access::ReadOnly {
            losetup.arg("--read-only");
        }
        let path = run(losetup.arg(file))?;
        Ok(Self { path: PathBuf::from(path.trim()) })
    }

    /// The device: `/dev/loop3`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A device in use is freed by the kernel with its last user.
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.path));
    }
}

impl Mount {
    /// Mounts the ext4 file system on `device` at a temporary place.
    pub fn ext4(device: &Path, access: Access) -> Result<Self> {
        Ok(Self { point: mount_ext4(device, access)?, _device: None })
    }

    /// Mounts the ext4 file system in `file`, read-only.
    pub fn image(file: &Path) -> Result<Self> {
        let device = LoopDevice::attach(file, Access::ReadOnly)?;
        Ok(Self { point: mount_ext4(device.path(), Access::ReadOnly)?, _device: Some(device) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached from the tree at once, so that removing the directory cannot reach into it.
        let _ = unmount(self.point.path(), UnmountFlags::DETACH);
    }
}

fn mount_ext4(device: &Path, access: Access) -> Result<TempDir> {
    let point = tempfile::tempdir()?;
    let flags = if access == Access::ReadOnly { MountFlags::RDONLY } else { MountFlags::empty() };
    mount(device, point.path(), "ext4", flags, None)
        .with_context(|| format!("mount {} at {}", device.display(), point.path().display()))?;
    Ok(point)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_system_in_a_file_is_mounted_and_given_back() {
        crate::require_root().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(file.path())).unwrap();
        let device = LoopDevice::attach_direct(file.path(), Access::ReadWrite).unwrap();
        let mounted = Mount::ext4(device.path(), Access::ReadWrite).unwrap();
        fs::write(mounted.path().join("seen"), "again").unwrap();
        drop(mounted);
        drop(device);
        let image = Mount::image(file.path()).unwrap();
        assert_eq!(fs::read_to_string(image.path().join("seen")).unwrap(), "again");
        assert!(File::create(image.path().join("other")).is_err(), "read-only");
        let point = image.path().to_owned();
        drop(image);
        assert!(!point.exists());
    }
}
