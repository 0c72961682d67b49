//! The floor that the hardware sets: inflating and hashing every layer on two threads, largest first, to nowhere; and writing as
//! many bytes past the page cache. No bake can be faster than the larger of the two.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use larder_tests::image::{Compression, Layer};
use sha2::{Digest as _, Sha256};

use super::measure::seconds;

const THREADS: usize = 2;
const BUFFER: usize = 1 << 20;
const PAGE: usize = 4096;

/// Seconds to inflate and hash, and to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) inflate: f64,
    pub(super) write: f64,
}

impl Floor {
    /// What no bake can be faster than.
    pub(super) fn seconds(&self) -> f64 {
        self.inflate.max(self.write)
    }
}

/// Measures both with `layers`, whose disk has `bytes`.
pub(super) fn measure(layers: &[Layer], bytes: u64, directory: &Path) -> Result<Floor> {
    let mut order: Vec<&Layer> = layers.iter().collect();
    order.sort_by_key(|layer| std::cmp::Reverse(layer.size));
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(layer) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            inflate(layer)?;
        }
        Ok(())
    };
    let (inflate, ()) = seconds(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })?;
    let (write, ()) = seconds(|| write(&directory.join("floor"), bytes))?;
    Ok(Floor { inflate, write })
}

/// Hashes what goes in and what comes out.
fn inflate(layer: &Layer) -> Result<()> {
    let blob = Hashing { input: File::open(layer.path())?, hasher: Sha256::new() };
    let blob = BufReader::with_capacity(BUFFER, blob);
    let mut plain: Box<dyn Read> = match layer.compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(blob)?),
        Compression::None => Box::new(blob),
    };
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        let length = plain.read(&mut buffer)?;
        if length == 0 {
            anyhow::ensure!(hasher.finalize()[..] == layer.diff_id.0.as_bytes()[..], "a layer changed");
            return Ok(());
        }
        hasher.update(&buffer[..length]);
    }
}

struct Hashing {
    input: File,
    hasher: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

fn write(path: &Path, bytes: u64) -> Result<()> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(path);
    let file = file.with_context(|| format!("open {} past the page cache", path.display()))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    let memory = vec![0x5a_u8; BUFFER + PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let buffer = &memory[start..start + BUFFER];
    for offset in (0..bytes).step_by(BUFFER) {
        file.write_all_at(buffer, offset)?;
    }
    file.sync_all()?;
    std::fs::remove_file(path)?;
    Ok(())
}
