//! Compressed streams.

use std::io::{Cursor, Read as _, Write as _};

use crate::inflate::inflate;
use larder_fuzz::Target;

/// A bomb is not read to its end; what limits one is the build's own limit for layers.
const ENOUGH: u64 = 16 << 20;

#[test]
fn damaged_streams_end() {
    let mut read = |input: &[u8]| {
        std::thread::scope(|scope| {
            let (inflated, _thread) = inflate(scope, Box::new(Cursor::new(input)));
            let mut output = Vec::new();
            match inflated.take(ENOUGH).read_to_end(&mut output) {
                Ok(_) => {
                    format!("{}", char::from(b'a' + u8::try_from(output.len().ilog2_or_zero()).unwrap()))
                }
                Err(error) => error.to_string(),
            }
        })
    };
    Target { name: "inflate", corpus: super::CORPUS, seeds: seeds(), mend: &|_, _| {}, read: &mut read }
        .run();
}

/// The number's magnitude.
trait Magnitude {
    fn ilog2_or_zero(self) -> u32;
}

impl Magnitude for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let text: Vec<u8> = (0..3000_u32).flat_map(|n| (n / 5 * n).to_le_bytes()).collect();
    let gzip = |bytes: &[u8], level| {
        let mut encoder = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .write(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |level| zstd::encode_all(&text[..], level).unwrap();
    vec![
        gzip(&text, 6),
        gzip(&text, 0),
        [gzip(b"one", 9), gzip(b"", 1), gzip(&text[..100], 1)].concat(),
        gzip(&[0; 100_000], 9),
        zstd(1),
        zstd(19),
        [zstd::encode_all(&b"one"[..], 1).unwrap(), zstd::encode_all(&[0; 100_000][..], 3).unwrap()].concat(),
        text[..500].to_vec(),
    ]
}
