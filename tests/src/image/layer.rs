//! Layers: entries made into a tar, compressed and hashed on both sides in one pass.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use larder_core::{Descriptor, DiffId, Digest, media_type};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::entry::Entry;
use super::names::Names;
use super::{Family, header};

/// How a layer's blob is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the tar is.
    None,
    /// gzip, fast.
    Gzip,
    /// zstd, fast.
    Zstd,
}

/// Collects the entries of a layer, in order.
#[derive(Clone, Debug, Default)]
pub struct LayerBuilder {
    entries: Vec<Entry>,
}

/// A layer whose blob lies in a temporary file; clones share it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Of the tar.
    pub diff_id: DiffId,
    /// Of the blob.
    pub digest: Digest,
    /// The blob's length in bytes.
    pub size: u64,
    /// The tar's length in bytes.
    pub tar_size: u64,
    /// How the blob is stored.
    pub compression: Compression,
    blob: Arc<TempPath>,
    names: Arc<Names>,
}

impl LayerBuilder {
    /// Adds an entry at the end.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds entries at the end.
    pub fn entries(mut self, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.entries.extend(entries);
        self
    }

    /// Writes the layer; the same entries and compression give the same bytes.
    pub fn build(&self, compression: Compression) -> Result<Layer> {
        let (file, path) = NamedTempFile::new().context("make a file for a layer")?.into_parts();
        let blob = Hashing::new(BufWriter::new(file));
        let (tar, blob) = match compression {
            Compression::None => self.write(blob)?,
            Compression::Gzip => {
                let (tar, encoder) = self.write(GzEncoder::new(blob, flate2::Compression::fast()))?;
                (tar, encoder.finish()?)
            }
            Compression::Zstd => {
                let (tar, encoder) = self.write(zstd::Encoder::new(blob, 1)?)?;
                (tar, encoder.finish()?)
            }
        };
        let (digest, size) = blob.finish()?;
        Ok(Layer {
            diff_id: DiffId(tar.digest),
            digest,
            size,
            tar_size: tar.size,
            compression,
            blob: Arc::new(path),
            names: Arc::new(Names::of(&self.entries)),
        })
    }

    fn write<W: Write>(&self, out: W) -> Result<(Sum, W)> {
        let mut out = Hashing::new(out);
        for entry in &self.entries {
            header::write(entry, &mut out)
                .with_context(|| format!("write layer entry {}", entry.path.escape_ascii()))?;
        }
        header::write_end(&mut out)?;
        let Hashing { inner, hash, size } = out;
        Ok((Sum { digest: Digest::from_sha256(hash.finalize().into()), size }, inner))
    }
}

impl Layer {
    /// The file with the blob.
    pub fn path(&self) -> &Path {
        &self.blob
    }

    /// What a manifest of `family` says of it.
    pub fn descriptor(&self, family: Family) -> Descriptor {
        let media_type = match (family, self.compression) {
            (Family::Oci, Compression::None) => media_type::OCI_LAYER,
            (Family::Oci, Compression::Gzip) => media_type::OCI_LAYER_GZIP,
            (_, Compression::Zstd) => media_type::OCI_LAYER_ZSTD,
            (Family::Docker, Compression::None) => media_type::DOCKER_LAYER,
            (Family::Docker, Compression::Gzip) => media_type::DOCKER_LAYER_GZIP,
        };
        Descriptor { media_type: media_type.to_owned(), digest: self.digest, size: self.size }
    }

    /// Whether what stands at this path (without `./` and slashes around it) in the end has its time from an entry of the tar.
    /// Where not, another entry implied it, and it got a time that no tar gives; so did the root, whose own entry containerd
    /// passes over.
    pub fn names(&self, path: &[u8]) -> bool {
        self.names.contains(path)
    }
}

struct Sum {
    digest: Digest,
    size: u64,
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }
}

impl Hashing<BufWriter<File>> {
    fn finish(mut self) -> Result<(Digest, u64)> {
        self.inner.flush().context("write a layer")?;
        Ok((Digest::from_sha256(self.hash.finalize().into()), self.size))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_changes_the_blob_and_not_the_layer() {
        let builder = LayerBuilder::default().entry(Entry::file("./a//b", vec![0; 100_000]));
        let all = [Compression::None, Compression::Gzip, Compression::Zstd];
        let [plain, gzip, zstd] = all.map(|compression| builder.build(compression).unwrap());
        assert_eq!((gzip.diff_id, zstd.diff_id), (plain.diff_id, plain.diff_id));
        assert_eq!(plain.digest, plain.diff_id.0);
        assert_eq!(plain.size, plain.tar_size);
        assert!(gzip.size < plain.size && zstd.size < plain.size && gzip.digest != zstd.digest);
        assert_eq!(Digest::of(&std::fs::read(gzip.path()).unwrap()), gzip.digest);
        assert!(plain.names(b"a/b") && !plain.names(b"a"));
    }
}
