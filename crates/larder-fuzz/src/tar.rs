//! The headers of tar archives: found, and given right checksums again.

/// Bytes of a header, and of the unit that everything in an archive is a multiple of.
pub const BLOCK: usize = 512;

/// Where headers begin, as far as sizes lead from one to the next.
pub fn headers(input: &[u8]) -> Vec<usize> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(block) = input.get(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().any(|byte| *byte != 0) {
            found.push(at - BLOCK);
            let digits = block[124..136].iter().take_while(|byte| byte.is_ascii_digit());
            let size = digits.fold(0, |size, digit| size << 3 | usize::from(digit & 7));
            let header_only = matches!(block[156], b'1'..=b'6');
            at = at.saturating_add(if header_only { 0 } else { size.next_multiple_of(BLOCK) });
        }
    }
    found
}

/// Sets the checksums of the headers at these places.
pub fn seal(input: &mut [u8], headers: &[usize]) {
    for header in headers {
        let block = &mut input[*header..header + BLOCK];
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
