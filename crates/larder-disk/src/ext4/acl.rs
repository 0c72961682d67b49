//! Access control lists: from the kernel's interface (`posix_acl_xattr.h`, version 2) to ext4's own form (`ext4/acl.h`, version 1).

const INTERFACE_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whether the kernel takes `value` as an access control list (`posix_acl_from_xattr`, `posix_acl_valid`): one entry each for
/// owner, group and others, in between those with a name, and a mask where there are any.
pub(crate) fn is_acl(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let Some((version, entries)) = value.split_first_chunk::<4>() else { return false };
    let (entries, rest) = entries.as_chunks::<8>();
    let sound = |[tag, _, permissions, more, id @ ..]: &[u8; 8]| {
        let named = matches!(u16::from(*tag), USER | GROUP);
        *permissions <= 7 && *more == 0 && !(named && *id == [0xff; 4])
    };
    u32::from_le_bytes(*version) == INTERFACE_VERSION
        && rest.is_empty()
        && entries.iter().all(sound)
        && (entries.is_empty() || are_in_order(&tags(entries)))
}

/// Whether a sound list says no more than a mode does; the kernel does not keep such a one.
pub(crate) fn is_mode(value: &[u8]) -> bool {
    let entries = value.get(4..).unwrap_or_default().as_chunks::<8>().0;
    tags(entries).iter().all(|tag| matches!(*tag, USER_OBJ | GROUP_OBJ | OTHER))
}

/// Whether a sound list has no entries, which removes the one that is there.
pub(crate) fn is_empty(value: &[u8]) -> bool {
    value.len() <= 4
}

fn tags(entries: &[[u8; 8]]) -> Vec<u16> {
    entries.iter().map(|entry| u16::from_le_bytes([entry[0], entry[1]])).collect()
}

fn are_in_order(tags: &[u16]) -> bool {
    let named = tags.iter().any(|tag| matches!(*tag, USER | GROUP));
    let count = |wanted: u16| tags.iter().filter(|tag| **tag == wanted).count();
    tags.is_sorted()
        && [USER_OBJ, GROUP_OBJ, OTHER].into_iter().all(|tag| count(tag) == 1)
        && (count(MASK) == 1 || count(MASK) == 0 && !named)
        && tags.iter().all(|tag| matches!(*tag, USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER))
}

/// The value as ext4 stores it; none if `value` is not an access control list.
///
/// The entries of the owner, group (or mask) and others follow `mode` where one is given: the last thing that unpacking does is chmod.
pub(super) fn to_disk(value: &[u8], mode: Option<u16>) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != INTERFACE_VERSION || !rest.is_empty() {
        return None;
    }
    let tags = tags(entries);
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

/// The value as it is read back from a file with `mode`: the form of the interface, but the content of the disk.
pub(crate) fn as_kept(name: &[u8], value: &[u8], mode: u16) -> Option<Vec<u8>> {
    let mode = match name {
        b"system.posix_acl_access" => Some(mode),
        b"system.posix_acl_default" => None,
        _ => return None,
    };
    from_disk(&to_disk(value, mode)?)
}

/// The id of an entry that names nobody.
const NOBODY: [u8; 4] = [0xff; 4];

/// The value as the kernel shows it; none if `value` is not in ext4's form.
pub(super) fn from_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, mut rest) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != DISK_VERSION {
        return None;
    }
    let mut shown = INTERFACE_VERSION.to_le_bytes().to_vec();
    while let Some((entry, later)) = rest.split_first_chunk::<4>() {
        rest = later;
        shown.extend(entry);
        match u16::from_le_bytes([entry[0], entry[1]]) {
            USER | GROUP => {
                let (id, later) = rest.split_first_chunk::<4>()?;
                rest = later;
                shown.extend(id);
            }
            USER_OBJ | GROUP_OBJ | MASK | OTHER => shown.extend(NOBODY),
            _ => return None,
        }
    }
    rest.is_empty().then_some(shown)
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
        let shown = from_disk(&disk).unwrap();
        assert_eq!((shown.len(), to_disk(&shown, None)), (value.len(), Some(disk)));
    }

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|(tag, permissions, id)| entry(*tag, *permissions, *id));
        2_u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    #[test]
    fn lists_are_judged_as_the_kernel_does() {
        let (owner, group, other) = ((USER_OBJ, 6, !0), (GROUP_OBJ, 4, !0), (OTHER, 4, !0));
        let (named, mask) = ((USER, 7, 1000), (MASK, 7, !0));
        let good = [
            vec![],
            vec![owner, group, other],
            vec![owner, group, mask, other],
            vec![owner, named, named, group, (GROUP, 1, 5), mask, other],
        ];
        assert_eq!(good.each_ref().map(|entries| is_acl(&list(entries))), [true; 4]);
        assert_eq!(good.map(|entries| is_mode(&list(&entries))), [true, true, false, false]);
        let bad = [
            vec![owner, group],
            vec![owner, other, group],
            vec![owner, owner, group, other],
            vec![owner, named, group, other],
            vec![owner, (USER, 7, !0), group, mask, other],
            vec![owner, (GROUP_OBJ, 8, !0), other],
            vec![owner, group, other, (0x40, 7, 0)],
        ];
        for entries in bad {
            assert!(!is_acl(&list(&entries)), "{entries:?}");
        }
        assert!(is_acl(b"") && !is_acl(b"\x01\0\0\0") && !is_acl(b"\x02\0\0\0abc"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let unknown_tag = [2_u32.to_le_bytes().to_vec(), entry(0x40, 7, 0)].concat();
        for value in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0abc", &unknown_tag] {
            assert_eq!(to_disk(value, None), None);
        }
    }
}
