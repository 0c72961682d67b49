//! One tar entry as a person thinks of it; `header` turns it into bytes.

use std::fmt;
use std::path::PathBuf;

/// A tar entry: made by its kind's constructor, then changed by the other methods.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: (i64, u32),
    pub(super) records: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) dialect: Dialect,
}

/// How an entry says what the old header has no room for: long names, large numbers, times before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// POSIX: records in an extended header.
    Pax,
    /// GNU: `L` and `K` entries and base-256 numbers.
    Gnu,
    /// The prefix field of ustar for long names; the rest as in PAX.
    Ustar,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    File(Content),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    /// Data with their offsets, and the file's length.
    PaxSparse(Vec<(u64, Vec<u8>)>, u64),
    GnuSparse(Vec<(u64, Vec<u8>)>, u64),
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    Disk(PathBuf, u64),
}

/// 2020-01-01T00:00:00Z: fixed, so that layers come out the same every day.
const MTIME: (i64, u32) = (1_577_836_800, 0);

impl Entry {
    fn new(path: impl AsRef<[u8]>, kind: Kind, mode: u32) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: MTIME,
            records: Vec::new(),
            dialect: Dialect::Pax,
        }
    }

    /// A regular file, mode 0644.
    pub fn file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::File(Content::Bytes(content.into())), 0o644)
    }

    /// A regular file whose content lies on disk, `size` bytes of it; mode 0644.
    pub fn file_from(path: impl AsRef<[u8]>, source: PathBuf, size: u64) -> Self {
        Self::new(path, Kind::File(Content::Disk(source, size)), 0o644)
    }

    /// A directory, mode 0755.
    pub fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, Kind::Directory, 0o755)
    }

    /// A symbolic link.
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(path, Kind::Symlink(target.as_ref().to_vec()), 0o777)
    }

    /// A further name of `target`, which an earlier entry made.
    pub fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(path, Kind::HardLink(target.as_ref().to_vec()), 0o644)
    }

    /// A character device.
    pub fn char_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::new(path, Kind::CharDevice(major, minor), 0o600)
    }

    /// A block device.
    pub fn block_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::new(path, Kind::BlockDevice(major, minor), 0o660)
    }

    /// A named pipe.
    pub fn fifo(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, Kind::Fifo, 0o600)
    }

    /// A file of `size` bytes with holes, as GNU.sparse 1.0 in PAX; `data` are pieces with their offsets.
    pub fn pax_sparse(path: impl AsRef<[u8]>, data: Vec<(u64, Vec<u8>)>, size: u64) -> Self {
        Self::new(path, Kind::PaxSparse(data, size), 0o644)
    }

    /// A file of `size` bytes with holes, in the old GNU format.
    pub fn gnu_sparse(path: impl AsRef<[u8]>, data: Vec<(u64, Vec<u8>)>, size: u64) -> Self {
        Self::new(path, Kind::GnuSparse(data, size), 0o644).dialect(Dialect::Gnu)
    }

    /// The mark that removes `path` of a lower layer (OCI image spec, "Whiteouts").
    pub fn whiteout(path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let name = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        Self::file([&path[..name], b".wh.", &path[name..]].concat(), "")
    }

    /// The mark that hides all that lower layers have in the directory `path`.
    pub fn opaque(path: impl AsRef<[u8]>) -> Self {
        Self::file([path.as_ref(), b"/.wh..wh..opq"].concat(), "")
    }

    /// Sets permission bits, set-user-ID, set-group-ID and sticky included.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Sets the owner.
    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    /// Sets the time of modification: seconds since 1970, nanoseconds onwards from there.
    pub fn mtime(self, seconds: i64, nanoseconds: u32) -> Self {
        Self { mtime: (seconds, nanoseconds), ..self }
    }

    /// Adds an extended attribute.
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(format!("SCHILY.xattr.{name}"), value)
    }

    /// Adds a PAX record as it is.
    pub fn record(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Sets how it says what does not fit; else PAX.
    pub fn dialect(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }
}

/// A line as `tar -tv` prints it, with PAX records behind it.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, mode, uid, gid, mtime: (seconds, nanoseconds), records, dialect: _ } = self;
        let (letter, rest) = match kind {
            Kind::File(Content::Bytes(bytes)) => ('-', format!(" {} bytes", bytes.len())),
            Kind::File(Content::Disk(_, size)) => ('-', format!(" {size} bytes")),
            Kind::PaxSparse(_, size) | Kind::GnuSparse(_, size) => ('-', format!(" {size} bytes, sparse")),
            Kind::Directory => ('d', String::new()),
            Kind::Symlink(target) => ('l', format!(" -> {}", target.escape_ascii())),
            Kind::HardLink(target) => ('h', format!(" link to {}", target.escape_ascii())),
            Kind::CharDevice(major, minor) => ('c', format!(" {major}:{minor}")),
            Kind::BlockDevice(major, minor) => ('b', format!(" {major}:{minor}")),
            Kind::Fifo => ('p', String::new()),
        };
        let path = path.escape_ascii();
        write!(f, "{letter} {mode:04o} {uid}:{gid} {seconds}.{nanoseconds:09} {path}{rest}")?;
        records
            .iter()
            .try_for_each(|(key, value)| write!(f, " {}={}", key.escape_ascii(), value.escape_ascii()))
    }
}
