//! Changes to inputs, from a seed: the same seed and inputs give the same changes.

use fastrand::Rng;

/// Numbers at which something changes: sizes of fields, signs, blocks, limits.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    7,
    100,
    255,
    256,
    511,
    512,
    513,
    4095,
    4096,
    65_535,
    65_536,
    1 << 20,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 33,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// The source of all changes.
pub struct Mutator(pub Rng);

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// One of `pool`, changed a few times.
    pub(super) fn mutate(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(pool).clone();
        for _ in 0..1 << self.0.u32(0..5) {
            self.change(&mut input, pool);
        }
        input
    }

    /// One of `items`, which are not empty.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.0.usize(0..items.len())]
    }

    /// A number, mostly one at which something changes.
    pub fn number(&mut self) -> u64 {
        match self.0.u32(0..4) {
            0 => self.0.u64(..) >> self.0.u32(0..64),
            _ => *self.one_of(&NUMBERS),
        }
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        if input.is_empty() {
            input.extend(self.one_of(pool));
            return;
        }
        let at = self.place(input);
        match self.0.u32(0..20) {
            0..4 => input[at] ^= 1 << self.0.u32(0..8),
            4..6 => input[at] = *self.one_of(&[0, 1, b' ', b'/', b'.', b'0', b'7', b'9', 0x7f, 0x80, 0xff]),
            6..8 => {
                let number = self.number().to_le_bytes();
                let length = (1 << self.0.u32(0..4)).min(input.len() - at);
                input[at..at + length].copy_from_slice(&number[..length]);
                if self.0.bool() {
                    input[at..at + length].reverse();
                }
            }
            8..11 => self.decimal(input, at),
            11 => input.truncate(at),
            12 | 13 => drop(input.drain(self.range(at, input.len()))),
            14 | 15 => {
                let piece = input[self.range(at, input.len())].to_vec();
                input.splice(at..at, piece);
            }
            16 | 17 => {
                let other = self.one_of(pool);
                let from = self.place(other);
                let piece = other[self.range(from, other.len())].to_vec();
                let end = if self.0.bool() { at } else { input.len().min(at + piece.len()) };
                input.splice(at..end, piece);
            }
            _ => {
                let end = self.range(at, input.len()).end.min(at + 64);
                input[at..end].fill_with(|| self.0.u8(..));
            }
        }
    }

    /// Where to change something: half of the time at a block's border, else mostly where bytes are not zero.
    fn place(&mut self, input: &[u8]) -> usize {
        if input.is_empty() {
            return 0;
        }
        let place = self.0.usize(0..input.len());
        if self.0.u32(0..4) == 0 {
            return place / 512 * 512;
        }
        (place..input.len()).take(4096).find(|place| input[*place] != 0).unwrap_or(place)
    }

    /// A range from `at`: whole blocks, or a few bytes.
    fn range(&mut self, at: usize, end: usize) -> std::ops::Range<usize> {
        let unit = *self.one_of(&[1, 1, 16, 512]);
        at..end.min(at + unit * self.0.usize(1..=8))
    }

    /// Replaces a number in text.
    fn decimal(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(start) = (at..input.len()).take(200).find(|place| input[*place].is_ascii_digit()) else {
            return;
        };
        let end = (start..input.len()).find(|place| !input[*place].is_ascii_digit()).unwrap_or(input.len());
        let number = self.number();
        let text = if self.0.u32(0..6) == 0 { format!("-{number}") } else { number.to_string() };
        input.splice(start..end, text.into_bytes());
    }
}
