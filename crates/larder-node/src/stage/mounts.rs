//! What is mounted, from `/proc/self/mountinfo` (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::{fs, io};

/// Whether something is mounted exactly at `path`.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let mountinfo = fs::read("/proc/self/mountinfo")?;
    Ok(mount_points(&mountinfo).any(|point| point.as_bytes() == path.as_os_str().as_bytes()))
}

/// Whether the device `MAJOR:MINOR` is mounted anywhere in this mount namespace.
pub(super) fn is_mounted(number: &str) -> io::Result<bool> {
    Ok(has_device(&fs::read("/proc/self/mountinfo")?, number))
}

/// The third field of each line.
fn has_device(mountinfo: &[u8], number: &str) -> bool {
    let mut lines = mountinfo.split(|b| *b == b'\n');
    lines.any(|line| line.split(|b| *b == b' ').nth(2) == Some(number.as_bytes()))
}

/// The fifth field of each line.
fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = OsString> {
    mountinfo.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescape)
}

/// Blanks and backslashes are written as `\040`: three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = if escaped.is_some() { &tail[3..] } else { tail };
        bytes.push(escaped.unwrap_or(*first));
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"36 35 98:0 / / rw,noatime master:1 - ext4 /dev/root rw\n\
            37 36 0:5 / /var/a\\040b\\134c ro - ext4 /dev/vdb ro\n38 36 0:6 /x /end\\04 rw - tmpfs t rw\n";
        let points: Vec<_> = mount_points(text).collect();
        assert_eq!(points, ["/", "/var/a b\\c", "/end\\04"]);
        assert!(has_device(text, "98:0") && !has_device(text, "8:0"));
    }

    #[test]
    fn proc_is_a_mount_point_and_its_files_are_not() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(Path::new("/proc/self")).unwrap());
    }
}
