//! What a device holds already, from the signatures that `blkid` knows it by.

/// How much of a device's start is needed.
pub(super) const PROBE: usize = 0x10048;

/// Names, offsets and bytes; the first that matches counts.
const SIGNATURES: [(&str, usize, &[u8]); 17] = [
    ("an ext2, ext3 or ext4 file system", 0x438, b"\x53\xef"),
    ("an XFS file system", 0, b"XFSB"),
    ("a Btrfs file system", 0x10040, b"_BHRfS_M"),
    ("an EROFS file system", 0x400, b"\xe2\xe1\xf5\xe0"),
    ("a SquashFS file system", 0, b"hsqs"),
    ("an F2FS file system", 0x400, b"\x10\x20\xf5\xf2"),
    ("an NTFS file system", 3, b"NTFS    "),
    ("an exFAT file system", 3, b"EXFAT   "),
    ("an ISO 9660 file system", 0x8001, b"CD001"),
    ("a bcachefs file system", 0x1018, b"\xc6\x85\x73\xf6"),
    ("swap space", 0xff6, b"SWAPSPACE2"),
    ("an encrypted volume (LUKS)", 0, b"LUKS\xba\xbe"),
    ("an LVM physical volume", 0x218, b"LVM2 001"),
    ("a RAID member", 0x1000, b"\xfc\x4e\x2b\xa9"),
    ("a GPT partition table", 0x200, b"EFI PART"),
    ("a GPT partition table", 0x1000, b"EFI PART"),
    ("a partition table or a FAT file system", 0x1fe, b"\x55\xaa"),
];

/// What `start`, the first bytes of a device, belongs to.
pub(super) fn recognise(start: &[u8]) -> Option<&'static str> {
    let matches =
        |(_, offset, magic): &&(&str, usize, &[u8])| start.get(*offset..*offset + magic.len()) == Some(magic);
    SIGNATURES.iter().find(matches).map(|(name, ..)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_within_the_probe_and_recognised() {
        for (name, offset, magic) in SIGNATURES {
            let mut start = vec![0xff; PROBE];
            start[offset..offset + magic.len()].copy_from_slice(magic);
            assert_eq!(recognise(&start), Some(name));
        }
        assert_eq!(recognise(&vec![0xff; PROBE]), None);
        assert_eq!(recognise(&[]), None);
    }
}
