//! Noise: pseudorandom bytes that differ in each frame. The same seed, sequence
//! number and layout give the same bytes.

use super::painting::{Painting, PatternSettings};
use crate::source::interface::FrameInfo;

/// Noise.
#[derive(Debug, Default)]
pub struct Noise {
    /// The key from which the frame's bytes are computed.
    key: u64,
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the output function of SplitMix64 for `x` (Steele, Lea, Flood: Fast
/// splittable pseudorandom number generators).
pub fn mixed(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

impl Painting for Noise {
    fn begin(&mut self, frame: &FrameInfo, settings: &PatternSettings) {
        // The 64 bits of the seed are taken as they are, whatever its sign.
        let seed = mixed(settings.noise_seed as u64);
        self.key = mixed(seed.wrapping_add(GOLDEN.wrapping_mul(u64::from(frame.sequence) + 1)));
    }

    fn paint(&self, plane: usize, y: u32, column: usize, out: &mut [u8]) {
        let line = mixed(self.key ^ ((plane as u64) << 32 | u64::from(y)));
        let word = |number: usize| {
            mixed(line.wrapping_add(GOLDEN.wrapping_mul(number as u64 + 1))).to_le_bytes()
        };
        let mut number = column / 8;
        let head = (column.next_multiple_of(8) - column).min(out.len());
        let (head, rest) = out.split_at_mut(head);
        if !head.is_empty() {
            head.copy_from_slice(&word(number)[column % 8..][..head.len()]);
            number += 1;
        }
        let (words, tail) = rest.as_chunks_mut();
        for bytes in words {
            *bytes = word(number);
            number += 1;
        }
        tail.copy_from_slice(&word(number)[..tail.len()]);
    }
}
