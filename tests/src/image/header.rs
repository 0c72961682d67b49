//! The bytes of a tar entry (POSIX pax format, and what GNU tar does instead). Written by hand: the images are to
//! contain what tar libraries refuse to write or tidy up.

mod sparse;

use std::fs::File;
use std::io::{self, Read, Write};

use super::entry::{Content, Dialect, Entry, Kind};
use sparse::GnuSparse;

const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;
/// Writes `entry` with its content.
pub(super) fn write(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    let mut fields = Fields::of(entry);
    let mut records = entry.records.clone();
    match entry.dialect {
        Dialect::Gnu => gnu_names(&fields, out)?,
        Dialect::Ustar => fields.split_prefix(),
        Dialect::Pax => {}
    }
    if entry.dialect != Dialect::Gnu {
        records.extend(fields.overflow_records());
    }
    records.extend(mtime_record(entry));
    if let Kind::PaxSparse(_, size) = &entry.kind {
        records.extend(sparse::records(&entry.path, *size));
    }
    if !records.is_empty() {
        write_records(&records, out)?;
    }
    out.write_all(&fields.block(entry.dialect))?;
    write_content(entry, out)
}

/// Ends an archive.
pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

struct Fields {
    path: Vec<u8>,
    prefix: Vec<u8>,
    link: Vec<u8>,
    typeflag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
    size: u64,
    device: (u32, u32),
    sparse: Option<GnuSparse>,
}

impl Fields {
    fn of(entry: &Entry) -> Self {
        let mut fields = Self {
            path: entry.path.clone(),
            prefix: Vec::new(),
            link: Vec::new(),
            typeflag: b'0',
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.0,
            size: 0,
            device: (0, 0),
            sparse: None,
        };
        match &entry.kind {
            Kind::File(Content::Bytes(bytes)) => fields.size = bytes.len() as u64,
            Kind::File(Content::Disk(_, size)) => fields.size = *size,
            Kind::Directory => fields.typeflag = b'5',
            Kind::Symlink(target) => (fields.typeflag, fields.link) = (b'2', target.clone()),
            Kind::HardLink(target) => (fields.typeflag, fields.link) = (b'1', target.clone()),
            Kind::CharDevice(major, minor) => (fields.typeflag, fields.device) = (b'3', (*major, *minor)),
            Kind::BlockDevice(major, minor) => (fields.typeflag, fields.device) = (b'4', (*major, *minor)),
            Kind::Fifo => fields.typeflag = b'6',
            Kind::PaxSparse(data, _) => {
                fields.path = b"GNUSparseFile.0/sparse".to_vec();
                fields.size = sparse::map(data).len() as u64 + sparse::stored(data);
            }
            Kind::GnuSparse(data, size) => {
                fields.typeflag = b'S';
                fields.size = sparse::stored(data);
                fields.sparse = Some(GnuSparse::of(data, *size));
            }
        }
        if matches!(entry.kind, Kind::Directory) && !fields.path.ends_with(b"/") {
            fields.path.push(b'/');
        }
        fields
    }

    /// Moves leading directories into the prefix field where the path has a slash at a fitting place.
    fn split_prefix(&mut self) {
        let fits = |&slash: &usize| slash <= PREFIX && self.path.len() - slash - 1 <= NAME;
        let mut slashes = (1..self.path.len().saturating_sub(1)).filter(|&at| self.path[at] == b'/');
        if self.path.len() > NAME
            && let Some(slash) = slashes.rfind(fits)
        {
            self.prefix = self.path[..slash].to_vec();
            self.path.drain(..=slash);
        }
    }

    fn overflow_records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let long = |key: &str, value: &[u8]| (value.len() > NAME).then(|| (key.into(), value.to_vec()));
        let large = |key: &str, value: u64| {
            (value > octal_max(8)).then(|| (key.into(), value.to_string().into_bytes()))
        };
        let records = [
            long("path", &self.path),
            long("linkpath", &self.link),
            large("uid", self.uid),
            large("gid", self.gid),
        ];
        records.into_iter().flatten().collect()
    }

    fn block(&self, dialect: Dialect) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let gnu = dialect == Dialect::Gnu;
        put_name(&mut block[0..100], &self.path);
        put_number(&mut block[100..108], i128::from(self.mode), gnu);
        put_number(&mut block[108..116], i128::from(self.uid), gnu);
        put_number(&mut block[116..124], i128::from(self.gid), gnu);
        put_number(&mut block[124..136], i128::from(self.size), gnu);
        put_number(&mut block[136..148], i128::from(self.mtime), gnu);
        block[156] = self.typeflag;
        put_name(&mut block[157..257], &self.link);
        block[257..265].copy_from_slice(if gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put_number(&mut block[329..337], i128::from(self.device.0), gnu);
        put_number(&mut block[337..345], i128::from(self.device.1), gnu);
        match &self.sparse {
            None => put_name(&mut block[345..500], &self.prefix),
            Some(sparse) => sparse.put(&mut block),
        }
        let mut blocks = with_checksum(block);
        blocks.extend(self.sparse.iter().flat_map(GnuSparse::extensions));
        blocks
    }
}

fn put_name(field: &mut [u8], name: &[u8]) {
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
}

/// The largest number that a field of `width` bytes holds in octal with its end mark.
fn octal_max(width: u32) -> u64 {
    (1 << (3 * (width - 1))) - 1
}

/// Octal; GNU writes what does not fit, and what is negative, in base 256. Elsewhere a record says it, and 0 stands here.
fn put_number(field: &mut [u8], value: i128, gnu: bool) {
    let width = field.len();
    match u64::try_from(value) {
        Ok(small) if small <= octal_max(u32::try_from(width).unwrap_or(u32::MAX)) => {
            field[..width - 1].copy_from_slice(format!("{small:0length$o}", length = width - 1).as_bytes());
        }
        _ if gnu => {
            field.copy_from_slice(&value.to_be_bytes()[16 - width..]);
            field[0] |= 0x80;
        }
        _ => field[..width - 1].fill(b'0'),
    }
}

/// The checksum counts its own field as spaces.
fn with_checksum(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn gnu_names(fields: &Fields, out: &mut impl Write) -> io::Result<()> {
    for (typeflag, name) in [(b'K', &fields.link), (b'L', &fields.path)] {
        if name.len() > NAME {
            let name = [name.as_slice(), b"\0"].concat();
            write_extension(typeflag, "././@LongLink", &name, Dialect::Gnu, out)?;
        }
    }
    Ok(())
}

fn mtime_record(entry: &Entry) -> Option<(Vec<u8>, Vec<u8>)> {
    let (seconds, nanoseconds) = entry.mtime;
    let plain = nanoseconds == 0 && (seconds >= 0 || entry.dialect == Dialect::Gnu);
    (!plain).then(|| {
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let sign = if total < 0 { "-" } else { "" };
        let (whole, part) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
        (b"mtime".to_vec(), format!("{sign}{whole}.{part:09}").into_bytes())
    })
}

fn write_records(records: &[(Vec<u8>, Vec<u8>)], out: &mut impl Write) -> io::Result<()> {
    let lines: Vec<u8> = records.iter().flat_map(|(key, value)| record_line(key, value)).collect();
    write_extension(b'x', "PaxHeaders.0/entry", &lines, Dialect::Pax, out)
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record_line(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key, b"=", value, b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}

fn write_extension(
    typeflag: u8,
    name: &str,
    content: &[u8],
    dialect: Dialect,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut fields = Fields::of(&Entry::file(name, content));
    fields.typeflag = typeflag;
    out.write_all(&fields.block(dialect))?;
    out.write_all(content)?;
    pad(content.len() as u64, out)
}

fn write_content(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    match &entry.kind {
        Kind::File(Content::Bytes(bytes)) => {
            out.write_all(bytes)?;
            pad(bytes.len() as u64, out)
        }
        Kind::File(Content::Disk(path, size)) => {
            let copied = io::copy(&mut File::open(path)?.take(*size), out)?;
            if copied != *size {
                return Err(io::Error::other(format!("{} became shorter", path.display())));
            }
            pad(*size, out)
        }
        Kind::PaxSparse(data, _) => {
            out.write_all(&sparse::map(data))?;
            write_pieces(data, out)
        }
        Kind::GnuSparse(data, _) => write_pieces(data, out),
        _ => Ok(()),
    }
}

fn write_pieces(data: &[(u64, Vec<u8>)], out: &mut impl Write) -> io::Result<()> {
    data.iter().try_for_each(|(_, bytes)| out.write_all(bytes))?;
    pad(sparse::stored(data), out)
}

fn pad(length: u64, out: &mut impl Write) -> io::Result<()> {
    let used = usize::try_from(length % BLOCK as u64).map_err(io::Error::other)?;
    out.write_all(&[0; BLOCK][..(BLOCK - used) % BLOCK])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// GNU tar is the oracle.
    fn listed(entries: &[Entry]) -> String {
        let mut archive = tempfile::NamedTempFile::new().unwrap();
        for entry in entries {
            write(entry, &mut archive).unwrap();
        }
        write_end(&mut archive).unwrap();
        let mut tar = Command::new("tar");
        tar.env("TZ", "UTC").args(["--numeric-owner", "--full-time", "-tvPf"]).arg(archive.path());
        crate::process::run(&mut tar).unwrap()
    }

    #[test]
    fn gnu_tar_reads_every_dialect() {
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(99));
        for dialect in [Dialect::Pax, Dialect::Gnu, Dialect::Ustar] {
            let entry = Entry::file(&long, "abc").owner(3_000_000_000, 70_000).mtime(-2, 0).dialect(dialect);
            let expected = format!("-rw-r--r-- 3000000000/70000  3 1969-12-31 23:59:58 {long}\n");
            assert_eq!(listed(&[entry]), expected, "{dialect:?}");
        }
        let target = "t".repeat(300);
        for dialect in [Dialect::Pax, Dialect::Gnu] {
            let line = listed(&[Entry::symlink("l", &target).dialect(dialect)]);
            assert!(line.ends_with(&format!("l -> {target}\n")), "{dialect:?}: {line}");
        }
    }

    #[test]
    fn gnu_tar_expands_both_kinds_of_sparse_files() {
        let pieces: Vec<_> = (0..30).map(|n| (n * 8192, vec![b'x'; 512])).collect();
        let lines = listed(&[
            Entry::pax_sparse("pax", pieces.clone(), 1 << 20),
            Entry::gnu_sparse("gnu", pieces, 1 << 20),
            Entry::file("after", "y"),
        ]);
        let sizes: Vec<_> = lines.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
        assert_eq!(sizes, ["1048576", "1048576", "1"]);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, length) in [(0, 5), (4, 9), (5, 11), (93, 99), (94, 101)] {
            let line = record_line(b"p", &vec![b'v'; value]);
            assert_eq!(line.len(), length);
            assert!(line.starts_with(format!("{length} p=").as_bytes()), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn nanoseconds_count_onwards_before_1970_too() {
        let record = |seconds, nanoseconds| {
            mtime_record(&Entry::dir("d").mtime(seconds, nanoseconds))
                .map(|(_, value)| String::from_utf8(value).unwrap())
        };
        assert_eq!(record(5, 0), None);
        assert_eq!(record(5, 7).as_deref(), Some("5.000000007"));
        assert_eq!(record(-2, 250_000_000).as_deref(), Some("-1.750000000"));
    }
}
