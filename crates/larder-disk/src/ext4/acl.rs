//! Access control lists: from the kernel's interface (`posix_acl_xattr.h`, version 2) to ext4's own form (`ext4/acl.h`, version 1).

const INTERFACE_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The value as ext4 stores it; none if `value` is not an access control list.
///
/// The entries of the owner, group (or mask) and others follow `mode` where one is given: the last thing that unpacking does is chmod.
pub(super) fn to_disk(value: &[u8], mode: Option<u16>) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != INTERFACE_VERSION || !rest.is_empty() {
        return None;
    }
    let tags: Vec<u16> = entries.iter().map(|entry| u16::from_le_bytes([entry[0], entry[1]])).collect();
    let has_mask = tags.contains(&MASK);
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for (entry, tag) in entries.iter().zip(&tags) {
        let of_mode = |shift: u16| mode.map(|mode| mode >> shift & 7);
        let from_mode = match *tag {
            USER_OBJ => of_mode(6),
            GROUP_OBJ if !has_mask => of_mode(3),
            MASK => of_mode(3),
            OTHER => of_mode(0),
            GROUP_OBJ | USER | GROUP => None,
            _ => return None,
        };
        let permissions = from_mode.unwrap_or(u16::from_le_bytes([entry[2], entry[3]]));
        disk.extend(tag.to_le_bytes());
        disk.extend(permissions.to_le_bytes());
        if matches!(*tag, USER | GROUP) {
            disk.extend(&entry[4..8]);
        }
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, permissions: u16, id: u32) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    }

    #[test]
    fn named_entries_keep_their_id_and_the_mask_follows_the_mode() {
        let value = [
            2_u32.to_le_bytes().to_vec(),
            entry(USER_OBJ, 7, !0),
            entry(USER, 4, 1000),
            entry(GROUP_OBJ, 5, !0),
            entry(MASK, 7, !0),
            entry(OTHER, 0, !0),
        ]
        .concat();
        let disk = to_disk(&value, Some(0o640)).unwrap();
        let expected: &[&[u8]] = &[
            &[1, 0, 0, 0],
            &[1, 0, 6, 0],
            &[2, 0, 4, 0, 0xe8, 3, 0, 0],
            &[4, 0, 5, 0],
            &[0x10, 0, 4, 0],
            &[0x20, 0, 0, 0],
        ];
        assert_eq!(disk, expected.concat());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let unknown_tag = [2_u32.to_le_bytes().to_vec(), entry(0x40, 7, 0)].concat();
        for value in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0abc", &unknown_tag] {
            assert_eq!(to_disk(value, None), None);
        }
    }
}
