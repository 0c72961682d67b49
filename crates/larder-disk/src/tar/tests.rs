use super::*;

/// An archive of `entries`, as the `tar` crate writes it.
fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o640);
    header.set_uid(1000);
    header.set_gid(100);
    header.set_mtime(1_700_000_000);
    header
}

fn entries(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.data(u64::MAX, |slice| {
            content.extend_from_slice(slice);
            Ok::<(), TarError>(())
        })?;
        all.push((entry, content));
    }
    Ok(all)
}

#[test]
fn entries_come_with_their_content_and_long_names() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let bytes = archive(|tar| {
        tar.append_data(&mut header(tar::EntryType::Regular, 5), "a/b", &b"hello"[..]).unwrap();
        tar.append_data(&mut header(tar::EntryType::Regular, 1024), &long, &[7; 1024][..]).unwrap();
        tar.append_link(&mut header(tar::EntryType::Symlink, 0), "link", format!("/{long}")).unwrap();
        tar.append_pax_extensions([
            ("SCHILY.xattr.user.k", &b"v\0w"[..]),
            ("mtime", b"5.25"),
            ("uid", b"100000"),
        ])
        .unwrap();
        tar.append_data(&mut header(tar::EntryType::Directory, 0), "dir/", &b""[..]).unwrap();
    });
    let all = entries(&bytes).unwrap();
    let summary: Vec<_> = all.iter().map(|(e, content)| (e.path.clone(), e.kind, content.len())).collect();
    assert_eq!(
        summary,
        [
            (b"a/b".to_vec(), EntryKind::File, 5),
            (long.clone().into_bytes(), EntryKind::File, 1024),
            (b"link".to_vec(), EntryKind::Symlink, 0),
            (b"dir/".to_vec(), EntryKind::Directory, 0),
        ]
    );
    assert_eq!(all[2].0.link, format!("/{long}").into_bytes());
    let directory = &all[3].0;
    assert_eq!(directory.xattrs, [(b"user.k".to_vec(), b"v\0w".to_vec())]);
    assert_eq!(directory.mtime, Time { seconds: 5, nanoseconds: 250_000_000 });
    assert_eq!((directory.uid, directory.gid, directory.mode), (100_000, 100, 0o640));
}

#[test]
fn an_archive_may_end_without_its_blocks_of_zeros_but_not_inside_an_entry() {
    let bytes = archive(|tar| {
        tar.append_data(&mut header(tar::EntryType::Regular, 600), "a", &[1; 600][..]).unwrap();
    });
    assert_eq!(entries(&bytes[..512 + 1024]).unwrap().len(), 1);
    assert_eq!(entries(&bytes[..512 + 600]).unwrap().len(), 1);
    assert!(matches!(entries(&bytes[..512 + 599]), Err(TarError::Truncated)));
    assert!(matches!(entries(&bytes[..100]), Err(TarError::Truncated)));
    let mut broken = bytes;
    broken[0] ^= 1;
    assert!(matches!(entries(&broken), Err(TarError::Header)));
}

#[test]
fn unread_content_is_skipped() {
    let bytes = archive(|tar| {
        tar.append_data(&mut header(tar::EntryType::Regular, 3000), "a", &[1; 3000][..]).unwrap();
        tar.append_data(&mut header(tar::EntryType::Regular, 1), "b", &b"x"[..]).unwrap();
    });
    let mut reader = TarReader::new(&bytes[..]);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"b");
    assert_eq!(reader.next_entry().unwrap(), None);
}
