//! Block devices: which file system is on one, which device has a file system, and whether anybody still reads it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, major, minor};
use rustix::io::Errno;

/// Where ext4's superblock is, and what is where in it (ext4(5), "The Super Block"); bytes.
const SUPERBLOCK: u64 = 1024;
const MAGIC: std::ops::Range<usize> = 0x38..0x3a;
const UUID: std::ops::Range<usize> = 0x68..0x78;

/// The UUID of the ext4 file system whose superblock this is, in hexadecimal digits.
fn uuid(superblock: &[u8; 1024]) -> Option<String> {
    (superblock[MAGIC] == [0x53, 0xef]).then(|| hex::encode(&superblock[UUID]))
}

/// The UUID of the ext4 file system on a device; none where it has no such file system.
pub(crate) fn uuid_of(device: &Path) -> io::Result<Option<String>> {
    let mut superblock = [0; 1024];
    match File::open(device)?.read_exact_at(&mut superblock, SUPERBLOCK) {
        Ok(()) => Ok(uuid(&superblock)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The block devices that hold the file system `uuid`. Devices that cannot be read hold nothing that can be mounted.
pub(super) fn find_by_uuid(uuid: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/block")? {
        let device = device_name(&entry?.path()).map(|name| Path::new("/dev").join(name));
        let holds = |device: &PathBuf| uuid_of(device).is_ok_and(|found| found.as_deref() == Some(uuid));
        found.extend(device.filter(holds));
    }
    found.sort_unstable();
    Ok(found)
}

/// The device that the file system at `path` is on; none where it is on none.
pub(crate) fn device_of(path: &Path) -> io::Result<Option<PathBuf>> {
    Ok(device_node(fs::metadata(path)?.dev()))
}

/// The path of the device with this number, by the name that the kernel gives it, while it has it.
pub(crate) fn device_node(number: u64) -> Option<PathBuf> {
    device_name(&sysfs(number)).map(|name| Path::new("/dev").join(name))
}

/// Whether the kernel still has the device under the file system at `path`; what is on no device always is.
pub(crate) fn has_device(path: &Path) -> io::Result<bool> {
    Ok(is_present(fs::metadata(path)?.dev()))
}

/// Whether the kernel still has the device with this number.
pub(crate) fn is_present(number: u64) -> bool {
    // Major number 0: tmpfs, overlayfs, network file systems.
    major(number) == 0 || sysfs(number).exists()
}

fn sysfs(number: u64) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)))
}

fn device_name(sysfs: &Path) -> Option<String> {
    let uevent = fs::read_to_string(sysfs.join("uevent")).ok()?;
    uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(str::to_owned)
}

/// Whether no file system on the device is in use anywhere: overlayfs keeps the disk below a running container also when
/// the disk is mounted nowhere any more, but then the device does not open exclusively. A device that is gone is released.
pub(crate) fn is_released(device: &Path) -> io::Result<bool> {
    let exclusive = OFlags::EXCL.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(exclusive).open(device) {
        Ok(_) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => Ok(false),
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::NOMEDIUM) => Ok(true),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_known_by_its_superblock() {
        let mut superblock = [0; 1024];
        superblock[UUID].copy_from_slice(&[0xab; 16]);
        assert_eq!(uuid(&superblock), None);
        superblock[MAGIC].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(uuid(&superblock), Some("ab".repeat(16)));
    }

    #[test]
    fn what_is_no_device_holds_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(uuid_of(file.path()).unwrap(), None);
        assert_eq!(device_of(Path::new("/proc")).unwrap(), None);
        assert!(has_device(Path::new("/proc")).unwrap());
        assert!(is_released(Path::new("/nowhere")).unwrap());
    }
}
