//! Little-endian numbers out of foreign bytes; what lies beyond their end reads as zero.

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = at.checked_add(N).and_then(|end| bytes.get(at..end)?.try_into().ok());
    found.unwrap_or([0; N])
}

/// The 16 bits at `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

/// The 32 bits at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// The 32 bits at `at`, most significant byte first, as jbd2 writes them.
pub(super) fn be32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// Sixteen bytes, such as a UUID.
pub(super) fn uuid_at(bytes: &[u8], at: usize) -> [u8; 16] {
    array(bytes, at)
}

/// A number whose halves are apart.
pub(super) fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_end_is_zero() {
        assert_eq!((u16_at(&[1, 2], 0), u16_at(&[1, 2], 1), u32_at(&[], usize::MAX)), (0x201, 0, 0));
    }
}
