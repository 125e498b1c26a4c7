//! The pattern `integrity`: frames in which no 64 bytes can be mistaken for any
//! others.
//!
//! Every 64-byte line of every memory plane, counted from the plane's first
//! byte, identifies itself. It consists of eight little-endian 64-bit words:
//!
//! | word | what it is |
//! |---|---|
//! | 0 | `stream << 32 \| sequence` |
//! | 1 | `plane << 56 \| offset`, where `offset` is that of the line, in bytes |
//! | 2 + i | `(x ^ x >> 32) * C[i]`, where `x = (word 0 * A) ^ (word 1 * B) ^ D`, modulo 2^64 |
//!
//! with the constants below. Between two lines, words 2 to 7 almost always
//! differ in all of their bytes, so a line that contains a part of another line
//! is no valid line. The last line of a plane is cut off at the plane's end.
//!
//! This picture has no overlay and no watermark, and no adjustment changes it.

use super::wide::{Work, widely};

/// Size of a line in bytes: that of a cache line of x86.
pub const LINE: usize = 64;

const A: u64 = 0x9e37_79b9_7f4a_7c15;
const B: u64 = 0xd6e8_feb8_6659_fd93;
const D: u64 = 0x2d35_8dcc_aa6c_78a5;
const C: [u64; 6] = [
    0xa076_1d64_78bd_642f,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
    0x5899_65cc_7537_4cc3,
    0x1d8e_4e27_c47d_124f,
    0xeb44_acca_b455_d165,
];

/// The identity of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// Number of the stream, as
    /// [`FrameInfo::stream`](crate::source::FrameInfo::stream) counts them.
    pub stream: u32,
    /// Sequence number of the frame.
    pub sequence: u32,
    /// Memory plane, from 0.
    pub plane: u8,
    /// Offset of the line in its memory plane, in bytes; a multiple of
    /// [`LINE`].
    pub offset: u32,
}

impl Line {
    /// Returns the bytes of the line.
    #[inline(always)]
    pub fn bytes(self) -> [u8; LINE] {
        let frame = u64::from(self.stream) << 32 | u64::from(self.sequence);
        let place = u64::from(self.plane) << 56 | u64::from(self.offset);
        let x = frame.wrapping_mul(A) ^ place.wrapping_mul(B) ^ D;
        let x = x ^ x >> 32;
        let mut bytes = [0; LINE];
        let (words, _) = bytes.as_chunks_mut();
        words[0] = frame.to_le_bytes();
        words[1] = place.to_le_bytes();
        for (word, c) in words[2..].iter_mut().zip(C) {
            *word = x.wrapping_mul(c).to_le_bytes();
        }
        bytes
    }

    /// Returns the line that has these bytes; `None` if no line of any frame
    /// has them.
    pub fn of(bytes: &[u8; LINE]) -> Option<Self> {
        let (words, _) = bytes.as_chunks();
        let frame = u64::from_le_bytes(words[0]);
        let place = u64::from_le_bytes(words[1]);
        let line = Self {
            // The casts take the halves and the ends of the words.
            stream: (frame >> 32) as u32,
            sequence: frame as u32,
            plane: (place >> 56) as u8,
            offset: place as u32,
        };
        (line.bytes() == *bytes).then_some(line)
    }

    /// Writes the bytes of this line's plane from `offset` on into `out`. The
    /// line's own offset does not matter.
    pub fn fill(self, offset: usize, out: &mut [u8]) {
        // Planes are shorter than 4 GiB.
        let line = |at: usize| Self {
            offset: at as u32,
            ..self
        };
        let within = offset % LINE;
        let mut at = offset - within;
        let (head, rest) = out.split_at_mut(((LINE - within) % LINE).min(out.len()));
        if !head.is_empty() {
            head.copy_from_slice(&line(at).bytes()[within..][..head.len()]);
            at += LINE;
        }
        let (lines, tail) = rest.as_chunks_mut();
        at += LINE
            * widely(Filling {
                line: line(at),
                lines,
            });
        if !tail.is_empty() {
            tail.copy_from_slice(&line(at).bytes()[..tail.len()]);
        }
    }
}

/// The writing of whole lines.
struct Filling<'a> {
    /// The first one.
    line: Line,
    lines: &'a mut [[u8; LINE]],
}

impl Work for Filling<'_> {
    /// The number of lines.
    type Result = usize;

    #[inline(always)]
    fn work(self) -> usize {
        for (number, bytes) in (0..).zip(&mut *self.lines) {
            // Planes are shorter than 4 GiB.
            let offset = self.line.offset.wrapping_add(LINE as u32 * number);
            *bytes = Line {
                offset,
                ..self.line
            }
            .bytes();
        }
        self.lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [Line; 4] = [
        Line {
            stream: 1,
            sequence: 0,
            plane: 0,
            offset: 0,
        },
        Line {
            stream: 1,
            sequence: 1,
            plane: 0,
            offset: 64,
        },
        Line {
            stream: 2,
            sequence: 1,
            plane: 2,
            offset: 0x00ff_ffc0,
        },
        Line {
            stream: u32::MAX,
            sequence: u32::MAX,
            plane: u8::MAX,
            offset: u32::MAX - 63,
        },
    ];

    #[test]
    fn the_formula_is_the_one_that_is_documented() {
        // Computed in Python from the table above.
        let hex: String = LINES[2]
            .bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            hex,
            "0100000002000000c0ffff00000000020433df206b57b6c354aba78d5abd361a\
             34f5ba40481bb67db4551929650b386f8402f56e578b3542acfb7074374edc61"
        );
    }

    #[test]
    fn a_line_says_which_one_it_is_and_none_that_is_damaged_does() {
        for line in LINES {
            let bytes = line.bytes();
            assert_eq!(Line::of(&bytes), Some(line));
            for at in 0..LINE {
                for bit in 0..8 {
                    let mut damaged = bytes;
                    damaged[at] ^= 1 << bit;
                    assert_eq!(Line::of(&damaged), None, "bit {bit} of byte {at}");
                }
            }
        }
        assert_eq!(Line::of(&[0; LINE]), None);
        assert_eq!(Line::of(&[0xff; LINE]), None);
    }

    #[test]
    fn half_a_line_of_another_is_none() {
        for (one, other) in [(0, 1), (1, 2), (2, 3)] {
            let (one, other) = (LINES[one].bytes(), LINES[other].bytes());
            for cut in 1..LINE {
                let mut torn = one;
                torn[cut..].copy_from_slice(&other[cut..]);
                if torn != other {
                    assert_eq!(Line::of(&torn), None, "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn it_does_not_matter_how_a_plane_is_cut() {
        let mut whole = vec![0; 1000];
        LINES[2].fill(0, &mut whole);
        for (number, bytes) in whole.chunks(LINE).enumerate() {
            let line = Line {
                offset: (number * LINE) as u32,
                ..LINES[2]
            };
            assert_eq!(bytes, &line.bytes()[..bytes.len()]);
        }
        for cut in [1, 3, 63, 64, 65, 200] {
            let mut pieces = vec![0; 1000];
            for (number, piece) in pieces.chunks_mut(cut).enumerate() {
                LINES[2].fill(number * cut, piece);
            }
            assert!(pieces == whole, "cut every {cut}");
        }
    }
}
