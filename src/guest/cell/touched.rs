//! Which bytes of a frame's buffer the device left as they were.
//!
//! A buffer that the process has filled with chance tells what was not written: sixteen
//! bytes of a picture are not by chance what was there before.

use std::ops::Range;

use crate::agent::cell::Subject;
use crate::agent::cell::evidence::TouchedSeen;
use crate::dma::DIGEST_BLOCK;

/// Length in bytes of the shortest run of bytes as they were that is told: shorter ones
/// come by chance.
const SHORTEST: usize = 16;

/// Number of runs that are told of each sort.
const TOLD: usize = 16;

/// What is known of the bytes of a device's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// They are compressed: each byte counts, and each frame has another length.
    Compressed,
    /// They have lines, and it is known where these are.
    Lines(Lines),
    /// They have lines with padding somewhere.
    Padded,
}

/// The lines of a frame in a buffer; the bytes between and after them are padding,
/// which a device may write or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// Bytes of a line that are pixels.
    line: usize,
    /// Bytes from one line to the next.
    stride: usize,
    /// Number of lines.
    count: usize,
}

impl Frames {
    /// Returns what is known of a device's frames.
    pub fn of(subject: &Subject) -> Self {
        let line = subject.line.unwrap_or_default() as usize;
        match subject.bytesperline as usize {
            0 => Self::Compressed,
            stride if (1..=stride).contains(&line) => Self::Lines(Lines {
                line,
                stride,
                count: subject.height as usize,
            }),
            _ => Self::Padded,
        }
    }
}

impl Lines {
    /// Returns whether the byte at an offset in the frame is no pixel.
    fn is_padding(self, at: usize) -> bool {
        at / self.stride >= self.count || at % self.stride >= self.line
    }
}

/// Compares what a buffer held `before` it was queued with what it holds `now`, of
/// which the device says that the bytes in `used` are the frame.
pub fn touched(before: &[u8], now: &[u8], used: Range<usize>, frames: Frames) -> TouchedSeen {
    let len = before.len().min(now.len());
    let end = len.min(used.end);
    let begin = end.min(used.start);
    let is_left = |at: usize| before[at] == now[at];
    let is_padding = |at: usize| match frames {
        Frames::Lines(lines) => lines.is_padding(at.saturating_sub(begin)),
        _ => false,
    };
    let blocks = blocks(len, begin..end, is_left, is_padding);
    let left = match frames {
        Frames::Compressed | Frames::Lines(_) => {
            runs(begin..end, SHORTEST, |at| is_left(at) && !is_padding(at))
        }
        Frames::Padded => {
            let whole = begin.div_ceil(DIGEST_BLOCK)..end / DIGEST_BLOCK;
            let is_in = |number: usize| blocks.binary_search(&(number as u32)).is_ok();
            let bytes = |number: u64| number * DIGEST_BLOCK as u64;
            let runs = runs(whole, 1, is_in).into_iter();
            runs.map(|(at, count)| (bytes(at), bytes(count))).collect()
        }
    };
    let beyond = match frames {
        Frames::Compressed => Vec::new(),
        _ => runs(end..len, 1, |at| !is_left(at)),
    };
    let bytes = |runs: &[(u64, u64)]| runs.iter().map(|(_, length)| length).sum();
    let first = |runs: &[(u64, u64)]| runs[..runs.len().min(TOLD)].to_vec();
    TouchedSeen {
        left: first(&left),
        left_bytes: bytes(&left),
        blocks,
        beyond: first(&beyond),
        beyond_bytes: bytes(&beyond),
    }
}

/// Returns the numbers of the blocks of `len` bytes all of whose bytes are left, or all
/// that are in the frame, if enough of them are no padding.
fn blocks(
    len: usize,
    frame: Range<usize>,
    is_left: impl Fn(usize) -> bool,
    is_padding: impl Fn(usize) -> bool,
) -> Vec<u32> {
    let is_whole = |number: &usize| {
        let from = number * DIGEST_BLOCK;
        let to = len.min(from + DIGEST_BLOCK);
        let within = from.max(frame.start)..to.min(frame.end);
        let bytes = match within.is_empty() {
            true => from..to,
            false => within,
        };
        let mut pixels = bytes.clone().filter(|at| !is_padding(*at));
        bytes.clone().all(&is_left) && pixels.nth(SHORTEST - 1).is_some()
    };
    let whole = (0..len.div_ceil(DIGEST_BLOCK)).filter(is_whole);
    whole.map(|number| number as u32).collect()
}

/// Returns the runs of places that satisfy `is_in`, and are no shorter than that:
/// offset and length.
fn runs(places: Range<usize>, shortest: usize, is_in: impl Fn(usize) -> bool) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    let mut at = places.start;
    // A run that begins at that place or later has one of these places in it.
    while let Some(probe) = Some(at + shortest - 1).filter(|probe| *probe < places.end) {
        if !is_in(probe) {
            at = probe + 1;
            continue;
        }
        let before = (at..probe).rev().take_while(|place| is_in(*place)).count();
        let after = (probe..places.end)
            .take_while(|place| is_in(*place))
            .count();
        if before + after >= shortest {
            runs.push(((probe - before) as u64, (before + after) as u64));
        }
        at = probe + after + 1;
    }
    runs
}

#[cfg(test)]
mod tests {
    use crate::card::BufferApi;
    use crate::guest::cell::memory::layout::pattern;

    use super::*;

    fn subject(line: Option<u32>) -> Subject {
        Subject {
            api: BufferApi::Single,
            pixelformat: u32::from_le_bytes(*b"GREY"),
            width: 100,
            height: 50,
            bytesperline: 128,
            line,
            sizeimage: 8192,
            buffers: 1,
            made: None,
        }
    }

    /// Frames of one line after another, without padding.
    fn plain() -> Frames {
        Frames::of(&Subject {
            height: 1000,
            ..subject(Some(128))
        })
    }

    fn inverted(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().map(|byte| !byte).collect()
    }

    #[test]
    fn what_was_not_written_is_told() {
        let before = pattern(8192);
        let whole = inverted(&before);
        let seen = |now: &[u8], used| touched(&before, now, 0..used, plain());
        assert_eq!(seen(&whole, 8192), TouchedSeen::default());
        let mut now = whole.clone();
        now[4096..4111].copy_from_slice(&before[4096..4111]);
        // One byte fewer than is no chance.
        assert_eq!(seen(&now, 8192), TouchedSeen::default());
        now[4111] = before[4111];
        let partly = seen(&now, 8192);
        assert_eq!((partly.left, partly.left_bytes), (vec![(4096, 16)], 16));
        now[8000..].copy_from_slice(&before[8000..]);
        let short = seen(&now, 8000);
        assert_eq!((short.left_bytes, short.beyond_bytes), (16, 0));
        now[8100..8103].copy_from_slice(&whole[8100..8103]);
        let beyond = seen(&now, 8000);
        assert_eq!((beyond.beyond, beyond.beyond_bytes), (vec![(8100, 3)], 3));
        // More than there is.
        assert_eq!(seen(&whole, usize::MAX), TouchedSeen::default());
    }

    #[test]
    fn runs_are_counted_and_the_first_told() {
        let before = pattern(8192);
        let mut now = inverted(&before);
        for at in (0..8192).step_by(64) {
            now[at..at + 32].copy_from_slice(&before[at..at + 32]);
        }
        let seen = touched(&before, &now, 0..8192, plain());
        assert_eq!((seen.left.len(), seen.left_bytes), (16, 4096));
        assert_eq!(seen.blocks, [0; 0]);
    }

    #[test]
    fn every_run_is_found() {
        let bits = pattern(600);
        let is_in = |at: usize| bits[at / 3] & 7 > 1;
        for shortest in [1, 2, 5, 16] {
            let found = runs(7..1500, shortest, is_in);
            // By looking at each place.
            let mut expected = Vec::new();
            let mut from = 7;
            for at in 7..=1500 {
                if at == 1500 || !is_in(at) {
                    if at >= from + shortest {
                        expected.push((from as u64, (at - from) as u64));
                    }
                    from = at + 1;
                }
            }
            assert_eq!(found, expected, "{shortest}");
        }
    }

    #[test]
    fn padding_may_be_as_it_was() {
        let before = pattern(8192);
        let mut now = before.clone();
        for line in now.chunks_mut(128).take(50) {
            line[..100].iter_mut().for_each(|byte| *byte = !*byte);
        }
        let seen = |now: &[u8], line| touched(&before, now, 0..8192, Frames::of(&subject(line)));
        assert_eq!(seen(&now, Some(100)).left_bytes, 0);
        assert_eq!(
            seen(&now, Some(128)).left_bytes,
            50 * 28,
            "what is behind the lines is padding"
        );
        // Nor is a block of padding one that was left out.
        let lines = Frames::of(&subject(Some(100)));
        let of_less = Frames::of(&Subject {
            height: 30,
            ..subject(Some(100))
        });
        let whole = |frames| touched(&before, &before, 0..8192, frames).blocks;
        assert_eq!((whole(lines), whole(of_less)), (vec![0, 1], vec![0]));
        // A line that was left out, though not what is behind its pixels.
        now[256..384].copy_from_slice(&before[256..384]);
        assert_eq!(seen(&now, Some(100)).left_bytes, 100);
        // Nobody knows what of it is padding.
        assert_eq!(seen(&now, None).left_bytes, 0);
        for line in [None, Some(0), Some(129)] {
            assert_eq!(Frames::of(&subject(line)), Frames::Padded);
        }
    }

    #[test]
    fn of_lines_that_are_not_known_whole_blocks_count() {
        let before = pattern(5 * 4096);
        let mut now = inverted(&before);
        now[4000..3 * 4096 + 100].copy_from_slice(&before[4000..3 * 4096 + 100]);
        now[4 * 4096..].copy_from_slice(&before[4 * 4096..]);
        let seen = |used| touched(&before, &now, used, Frames::Padded);
        let whole = seen(0..5 * 4096);
        let left = vec![(4096, 8192), (4 * 4096, 4096)];
        assert_eq!((whole.left, whole.left_bytes), (left, 12288));
        assert_eq!(whole.blocks, [1, 2, 4]);
        // A frame that ends within a block, and one that begins there.
        let short = seen(0..2 * 4096 + 100);
        assert_eq!(
            (short.left, short.blocks),
            (vec![(4096, 4096)], vec![1, 2, 4])
        );
        let within = seen(4050..3 * 4096 + 50);
        assert_eq!(within.blocks, [0, 1, 2, 3, 4]);
        assert_eq!(within.left_bytes, 8192);
        // Fewer bytes than are no chance.
        assert_eq!(seen(0..3 * 4096 + 15).blocks, [1, 2, 4]);
    }

    #[test]
    fn a_compressed_frame_has_any_length() {
        let before = pattern(8192);
        let compressed = Frames::of(&Subject {
            bytesperline: 0,
            ..subject(None)
        });
        let now = inverted(&before);
        let seen = touched(&before, &now, 0..5000, compressed);
        assert_eq!(seen, TouchedSeen::default());
        let mut left = now.clone();
        left[4000..4100].copy_from_slice(&before[4000..4100]);
        let seen = touched(&before, &left, 0..5000, compressed);
        assert_eq!(seen.left, [(4000, 100)]);
        let seen = touched(&before, &now, 0..5000, plain());
        assert_eq!(seen.beyond_bytes, 3192);
    }

    #[test]
    fn a_frame_begins_behind_what_the_device_puts_before_it() {
        let before = pattern(8192);
        let mut now = before.clone();
        for line in now[200..].chunks_mut(128).take(50) {
            line[..100].iter_mut().for_each(|byte| *byte = !*byte);
        }
        let lines = Frames::of(&subject(Some(100)));
        let seen = |begin| touched(&before, &now, begin..8192, lines);
        assert_eq!(seen(200).left_bytes, 0);
        assert_ne!(seen(0).left_bytes, 0);
        assert_eq!(seen(usize::MAX).left_bytes, 0);
    }
}
