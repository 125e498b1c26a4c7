//! Noise: pseudorandom bytes that differ in each frame. The same seed, sequence
//! number and layout give the same bytes.
//!
//! A line is the exclusive or of two stretches of a pool of random bytes, which
//! the seed determines. Where they begin follows from the seed, the sequence
//! number, the plane and the line.

use super::painting::{Band, Line, Painting, PatternSettings};
use crate::source::frame::FrameInfo;
use crate::source::layout::Layout;

/// Number of places in a half of the pool at which a stretch may begin.
const PLACES: u64 = 8192;

/// Noise.
#[derive(Debug)]
pub struct Noise {
    /// Two halves, each as long as its places and a line.
    pool: Vec<u8>,
    /// Length of a line, for every colour plane.
    strides: Vec<usize>,
    /// The seed from which the pool was made.
    seed: Option<i64>,
    /// The key from which the frame's bytes are computed.
    key: u64,
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the output function of SplitMix64 for `x` (Steele, Lea, Flood: Fast
/// splittable pseudorandom number generators).
fn mixed(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

impl Noise {
    /// Makes noise for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let strides: Vec<_> = layout.planes().map(|plane| plane.stride).collect();
        let longest = strides
            .iter()
            .max()
            .map_or(0, |most| most.next_multiple_of(8));
        let half = PLACES as usize + longest;
        Self {
            pool: vec![0; 2 * half],
            strides,
            seed: None,
            key: 0,
        }
    }
}

impl Painting for Noise {
    fn begin(&mut self, frame: &FrameInfo, settings: &PatternSettings) {
        // The 64 bits of the seed are taken as they are, whatever its sign.
        let seed = mixed(settings.noise_seed as u64);
        if self.seed != Some(settings.noise_seed) {
            self.seed = Some(settings.noise_seed);
            let mut word = seed;
            for bytes in self.pool.as_chunks_mut().0 {
                word = word.wrapping_add(GOLDEN);
                *bytes = mixed(word).to_le_bytes();
            }
        }
        self.key = mixed(seed ^ GOLDEN.wrapping_mul(u64::from(frame.sequence) + 1));
    }

    fn band(&self, plane: usize, y: u32) -> Band<'_> {
        let line = mixed(self.key ^ ((plane as u64) << 32 | u64::from(y)));
        let (one, other) = self.pool.split_at(self.pool.len() / 2);
        let (from, stride) = (|place: u64| (place % PLACES) as usize, self.strides[plane]);
        Band {
            line: Line::Mixed(
                &one[from(line)..][..stride],
                &other[from(line >> 32)..][..stride],
            ),
            end: y + 1,
        }
    }
}
