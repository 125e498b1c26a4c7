//! The watermark, which distinguishes the pages of a frame from those of other
//! frames.
//!
//! Most of a test picture never changes, so a page that a driver forgot to hand
//! over would show the bytes of an earlier frame and look right. Therefore
//! every 4 KiB page of a frame (counted from the first byte of each memory
//! plane) ends in a mark in its lowest bits, where it is not visible:
//!
//! | bytes in the page | what carries it |
//! |---|---|
//! | 64 and more | bit 0 of the last 32 bytes: the sequence number; bit 0 of the 32 before: the time of day in milliseconds, modulo 2^32 |
//! | 32 to 63 | bit 0 of the last 32 bytes: the sequence number |
//! | 2 to 31 (n) | the lowest ceil(10 / n) bits of every byte: as much of the sequence number as they hold, at least 10 bits |
//! | 1 | all of it: 8 bits of the sequence number |
//!
//! The lowest bits go into the first byte. So a page differs from the same page
//! of each of the 1023 frames before it (a page of one byte: 255), whatever the
//! picture. A page of 64 bytes or more also differs from that of an earlier
//! stream with the same sequence number, unless less than a millisecond or a
//! multiple of 49.7 days lies between them.

use std::ops::Range;

use crate::source::frame::FrameInfo;

/// Size of a page in bytes; the last one of a memory plane has the rest.
pub const PAGE: usize = 4096;

/// Number of bytes that carry a 32-bit value, one bit each.
const SPREAD: usize = 32;

/// Number of bits of the sequence number that a page of two bytes or more
/// carries at least.
const ENOUGH: usize = 10;

/// The mark of the pages of one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watermark {
    /// The frame's sequence number.
    pub sequence: u32,
    /// Its time of day in milliseconds, modulo 2^32.
    pub millis: u32,
}

impl Watermark {
    /// Returns the mark of that frame.
    pub fn of(frame: &FrameInfo) -> Self {
        Self {
            sequence: frame.sequence,
            // Modulo 2^32.
            millis: frame.wall.as_millis() as u32,
        }
    }

    /// Marks `out`, which begins at byte `offset` of a memory plane of `plane`
    /// bytes.
    pub fn apply(self, plane: usize, offset: usize, out: &mut [u8]) {
        // Most of what is marked are whole pages.
        let whole = match offset.is_multiple_of(PAGE) {
            true => out.len() - out.len() % PAGE,
            false => 0,
        };
        let (pages, out) = out.split_at_mut(whole);
        for page in pages.chunks_exact_mut(PAGE) {
            let (millis, sequence) = page[PAGE - 2 * SPREAD..].split_at_mut(SPREAD);
            put_word(self.millis, millis);
            put_word(self.sequence, sequence);
        }
        let offset = offset + whole;
        let end = offset + out.len();
        let mut page = offset - offset % PAGE;
        while page < end {
            let len = PAGE.min(plane.saturating_sub(page));
            for (bytes, per_byte, value) in [
                (time_bytes(len), 1, self.millis),
                (sequence_bytes(len), bits_per_byte(len), self.sequence),
            ] {
                put(
                    value,
                    per_byte,
                    page + bytes.start..page + bytes.end,
                    offset,
                    out,
                );
            }
            page += PAGE;
        }
    }
}

/// Returns the sequence number that a page carries: its lowest
/// [`sequence_bits`]`(page.len())` bits, with the others 0.
pub fn watermark(page: &[u8]) -> u32 {
    get(&page[sequence_bytes(page.len())], bits_per_byte(page.len()))
}

/// Returns the time of day that a page carries, in milliseconds modulo 2^32;
/// `None` if the page is too short for it.
pub fn watermark_millis(page: &[u8]) -> Option<u32> {
    let bytes = &page[time_bytes(page.len())];
    (!bytes.is_empty()).then(|| get(bytes, 1))
}

/// Returns the number of bits of the sequence number that a page of `len` bytes
/// carries.
pub fn sequence_bits(len: usize) -> usize {
    sequence_bytes(len).len() * bits_per_byte(len)
}

/// Returns the bytes of a page of `len` bytes that carry the sequence number.
fn sequence_bytes(len: usize) -> Range<usize> {
    len.saturating_sub(SPREAD)..len
}

/// Returns the bytes of a page of `len` bytes that carry the time.
fn time_bytes(len: usize) -> Range<usize> {
    match len.checked_sub(2 * SPREAD) {
        Some(start) => start..start + SPREAD,
        None => 0..0,
    }
}

/// Returns the number of bits of the sequence number that each of those bytes
/// carries.
fn bits_per_byte(len: usize) -> usize {
    ENOUGH.div_ceil(len.max(1)).min(8)
}

/// Puts the bits of `value` into those bytes of the range `carriers` that lie
/// in `out`, which begins at byte `offset`.
fn put(value: u32, per_byte: usize, carriers: Range<usize>, offset: usize, out: &mut [u8]) {
    let here = carriers.start.max(offset)..carriers.end.min(offset + out.len());
    if per_byte == 1 && here.len() == SPREAD {
        return put_word(value, &mut out[here.start - offset..][..SPREAD]);
    }
    let mask = (1u32 << per_byte) - 1;
    for at in here {
        let bits = (value >> ((at - carriers.start) * per_byte)) & mask;
        let byte = &mut out[at - offset];
        *byte = *byte & !(mask as u8) | bits as u8;
    }
}

/// Puts the 32 bits of `value` into the lowest bits of 32 bytes, eight at a
/// time. Every page of a frame but the last takes this path.
fn put_word(value: u32, carriers: &mut [u8]) {
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    // Bit n of byte n.
    const DIAGONAL: u64 = 0x8040_2010_0804_0201;
    for (bits, bytes) in value.to_le_bytes().iter().zip(carriers.as_chunks_mut().0) {
        // Each byte is 0 or its bit of the diagonal. Adding 0x7f carries the
        // latter, and nothing else, into the byte's highest bit.
        let diagonal = (u64::from(*bits) * LOWEST) & DIAGONAL;
        let spread = ((diagonal + 0x7f * LOWEST) >> 7) & LOWEST;
        *bytes = ((u64::from_le_bytes(*bytes) & !LOWEST) | spread).to_le_bytes();
    }
}

/// Returns the value that [`put`] put into `carriers`.
fn get(carriers: &[u8], per_byte: usize) -> u32 {
    let mask = (1u32 << per_byte) - 1;
    carriers
        .iter()
        .rev()
        .fold(0, |value, byte| value << per_byte | u32::from(*byte) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_two_bytes_and_more_carries_at_least_ten_bits() {
        for len in 2..=PAGE {
            let bits = sequence_bits(len);
            assert!(
                (ENOUGH..=32).contains(&bits),
                "{len} bytes carry {bits} bits"
            );
            for sequence in [0, 1, 0x2aa, 0x155, 0x3ff, 0x5555_5555, u32::MAX] {
                let mark = Watermark {
                    sequence,
                    millis: !sequence,
                };
                for ground in [0, 0xff] {
                    let mut page = vec![ground; len];
                    mark.apply(len, 0, &mut page);
                    let mask = u32::MAX >> (32 - bits);
                    assert_eq!(watermark(&page), sequence & mask, "{len} bytes");
                    assert_eq!(watermark_millis(&page), (len >= 64).then_some(!sequence));
                }
            }
        }
    }

    #[test]
    fn a_thousand_frames_back_no_page_has_the_same_mark() {
        for len in (2..=64).chain([PAGE]) {
            let first = u32::MAX - 1500;
            let mut last_seen = std::collections::HashMap::new();
            for step in 0..3000u32 {
                let sequence = first.wrapping_add(step);
                let mut page = vec![0x80; len];
                Watermark {
                    sequence,
                    millis: 0,
                }
                .apply(len, 0, &mut page);
                if let Some(before) = last_seen.insert(page, step) {
                    assert!(step - before > 1000, "{len} bytes, frame {sequence}");
                }
            }
        }
    }

    #[test]
    fn a_long_page_keeps_all_but_its_last_64_lowest_bits() {
        let mut page = vec![0x81; PAGE];
        Watermark {
            sequence: 0,
            millis: 0,
        }
        .apply(PAGE, 0, &mut page);
        assert!(page[..PAGE - 64].iter().all(|b| *b == 0x81));
        assert!(page[PAGE - 64..].iter().all(|b| *b == 0x80));
    }

    #[test]
    fn it_does_not_matter_how_a_frame_is_cut() {
        let mark = Watermark {
            sequence: 0x1234_5678,
            millis: 0x9abc_def0,
        };
        for frame in [2 * PAGE, PAGE + 2, PAGE + 10, PAGE + 40, PAGE + 64] {
            let mut whole = vec![0x55; frame];
            mark.apply(frame, 0, &mut whole);
            for cut in [1, 3, 7, 31, 33, 4095] {
                let mut pieces = vec![0x55; frame];
                for (i, piece) in pieces.chunks_mut(cut).enumerate() {
                    mark.apply(frame, i * cut, piece);
                }
                assert!(pieces == whole, "{frame} bytes cut every {cut}");
            }
        }
    }
}
