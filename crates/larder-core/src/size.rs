//! Byte counts, as people read them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes; displayed in binary units with three significant digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A text that is not a number of bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "size {0:?}: expected a number of bytes, with K, M, G or T (or KiB, ...) for powers of 1024, KB, ... for powers of 1000"
)]
pub struct ByteSizeError(String);

/// As coreutils read sizes: `10G` and `10GiB` are powers of 1024, `10GB` of 1000.
impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let power = |letter: char| match letter.to_ascii_uppercase() {
            'K' => Some(1),
            'M' => Some(2),
            'G' => Some(3),
            'T' => Some(4),
            _ => None,
        };
        let mut letters = unit.chars();
        let factor = match (letters.next(), letters.as_str()) {
            (None, _) => Some(1),
            (Some(letter), "" | "iB") => power(letter).map(|power| 1024_u64.pow(power)),
            (Some(letter), "B") => power(letter).map(|power| 1000_u64.pow(power)),
            _ => None,
        };
        let bytes =
            number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        bytes.map(Self).ok_or_else(|| ByteSizeError(text.to_owned()))
    }
}

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        // Units are 10 bits apart; the value is below 1024 in the chosen one.
        let unit = (63 - self.0.leading_zeros() as usize) / 10;
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let value = self.0 as f64 / (1_u64 << (10 * unit)) as f64;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        f.pad(&format!("{value:.digits$} {}", UNITS[unit - 1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_typed_as_coreutils_take_them() {
        let table = [
            ("0", 0),
            ("512", 512),
            ("10k", 10 << 10),
            ("3MiB", 3 << 20),
            ("10G", 10 << 30),
            ("2GB", 2_000_000_000),
        ];
        for (text, bytes) in table {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "10X", "10Gi", "99999999T"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError(text.to_owned())));
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536 * 1024, "1.50 MiB"),
            (41 << 30, "41.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
