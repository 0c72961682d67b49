//! Byte counts, as people read them.

use std::fmt;

/// A number of bytes; displayed in binary units with three significant digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

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
