//! What the tests of several modules share: archives with what archivers would not write, and a volume to unpack them to.

use crate::ext4::{Sizing, Target, Volume, VolumeOptions};
use crate::layer::{LayerError, unpack};
use crate::tree::Tree;

/// The time that entries have unless they say another.
pub(crate) const MTIME: u64 = 1_700_000_000;

/// A tar archive in the making.
pub(crate) struct Archive(tar::Builder<Vec<u8>>);

/// An entry; `set` changes what the constructors did not.
pub(crate) struct Made {
    pub(crate) header: tar::Header,
    records: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

impl Archive {
    pub(crate) fn of(entries: impl IntoIterator<Item = Made>) -> Vec<u8> {
        let mut archive = Self(tar::Builder::new(Vec::new()));
        entries.into_iter().for_each(|entry| archive.add(entry));
        archive.0.into_inner().unwrap()
    }

    fn add(&mut self, mut entry: Made) {
        let records = entry.records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.0.append_pax_extensions(records).unwrap();
        if entry.header.entry_size().unwrap() == 0 {
            entry.header.set_size(entry.content.len() as u64);
        }
        entry.header.set_cksum();
        self.0.append(&entry.header, entry.content.as_slice()).unwrap();
    }
}

impl Made {
    pub(crate) fn new(kind: u8, path: impl AsRef<[u8]>) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mtime(MTIME);
        let made = Self { header, records: Vec::new(), content: Vec::new() };
        let path = path.as_ref();
        let short = path.len().min(100);
        let mut made = if path.len() > 100 { made.record("path", path) } else { made };
        made.header.as_old_mut().name[..short].copy_from_slice(&path[..short]);
        made
    }

    pub(crate) fn file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        Self { content: content.into(), ..Self::new(b'0', path) }
    }

    pub(crate) fn directory(path: impl AsRef<[u8]>) -> Self {
        Self::new(b'5', path).mode(0o755)
    }

    pub(crate) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(b'2', path).record("linkpath", target)
    }

    pub(crate) fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(b'1', path).record("linkpath", target)
    }

    pub(crate) fn device(kind: u8, path: &str, major: u32, minor: u32) -> Self {
        Self::new(kind, path).set(|header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        self.set(|header| header.set_mode(mode))
    }

    pub(crate) fn owner(self, uid: i64, gid: i64) -> Self {
        self.record("uid", uid.to_string()).record("gid", gid.to_string())
    }

    pub(crate) fn mtime(self, time: &str) -> Self {
        self.record("mtime", time)
    }

    pub(crate) fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    pub(crate) fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut tar::Header)) -> Self {
        change(&mut self.header);
        self
    }
}

/// A file system in a file that is gone with it.
pub(crate) struct Scratch {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) volume: Volume,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.img");
        let sizing = Sizing::Needed { headroom: 0 };
        let options = VolumeOptions { sizing, journal: false, checksums: false, workers: 1 };
        Self { volume: Volume::create(&path, Target::File, options).unwrap(), directory }
    }

    /// The layer that `archive` makes.
    pub(crate) fn unpack(&self, archive: &[u8], base: bool) -> Result<Tree, LayerError> {
        let mut writer = self.volume.writer();
        let (tree, _) = unpack(archive, base, &mut writer, &|| false)?;
        writer.finish()?;
        Ok(tree)
    }
}
