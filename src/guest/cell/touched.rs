//! Which bytes of a frame's buffer the device left as they were.
//!
//! A buffer that the process has filled with chance tells what was not written: sixteen
//! bytes of a picture are not by chance what was there before.

use crate::agent::cell::Subject;
use crate::agent::cell::evidence::TouchedSeen;

/// Length in bytes of the shortest run of bytes as they were that is told: shorter ones
/// come by chance.
const SHORTEST: usize = 16;

/// Number of runs that are told of each sort.
const TOLD: usize = 16;

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

impl Lines {
    /// Returns the lines of a device's frames, if it is known where they are.
    pub fn of(subject: &Subject) -> Option<Self> {
        let line = subject.line? as usize;
        let stride = subject.bytesperline as usize;
        (line > 0 && line <= stride).then_some(Self {
            line,
            stride,
            count: subject.height as usize,
        })
    }

    /// Returns whether the byte at an offset in the buffer is no pixel.
    fn is_padding(self, at: usize) -> bool {
        at / self.stride >= self.count || at % self.stride >= self.line
    }
}

/// Compares what a buffer held `before` it was queued with what it holds `now`, of
/// which the device says that the first `bytesused` bytes are the frame.
pub fn touched(before: &[u8], now: &[u8], bytesused: u32, lines: Option<Lines>) -> TouchedSeen {
    let len = before.len().min(now.len());
    let end = len.min(bytesused as usize);
    let is_pixel = |at: usize| !lines.is_some_and(|lines| lines.is_padding(at));
    let left = runs(0..end, SHORTEST, |at| before[at] == now[at] && is_pixel(at));
    let beyond = runs(end..len, 1, |at| before[at] != now[at]);
    let bytes = |runs: &[(u64, u64)]| runs.iter().map(|(_, length)| length).sum();
    let first = |runs: &[(u64, u64)]| runs[..runs.len().min(TOLD)].to_vec();
    TouchedSeen {
        left: first(&left),
        left_bytes: bytes(&left),
        beyond: first(&beyond),
        beyond_bytes: bytes(&beyond),
    }
}

/// Returns the runs of places that satisfy `is_in`, and are no shorter than that:
/// offset and length.
fn runs(
    places: std::ops::Range<usize>,
    shortest: usize,
    is_in: impl Fn(usize) -> bool,
) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    let mut at = places.start;
    while at < places.end {
        let from = at;
        while at < places.end && is_in(at) {
            at += 1;
        }
        if at - from >= shortest {
            runs.push((from as u64, (at - from) as u64));
        }
        at += 1;
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
        }
    }

    #[test]
    fn what_was_not_written_is_told() {
        let before = pattern(8192);
        let whole: Vec<u8> = before.iter().map(|byte| !byte).collect();
        let seen = |now: &[u8], used| touched(&before, now, used, None);
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
        assert_eq!(seen(&whole, u32::MAX), TouchedSeen::default());
    }

    #[test]
    fn runs_are_counted_and_the_first_told() {
        let before = pattern(8192);
        let seen = touched(&before, &before, 0, None);
        assert_eq!(seen, TouchedSeen::default());
        let mut now: Vec<u8> = before.iter().map(|byte| !byte).collect();
        for at in (0..8192).step_by(64) {
            now[at..at + 32].copy_from_slice(&before[at..at + 32]);
        }
        let seen = touched(&before, &now, 8192, None);
        assert_eq!((seen.left.len(), seen.left_bytes), (TOLD, 4096));
    }

    #[test]
    fn padding_may_be_as_it_was() {
        let before = pattern(8192);
        let mut now = before.clone();
        for line in now.chunks_mut(128).take(50) {
            line[..100].iter_mut().for_each(|byte| *byte = !*byte);
        }
        let seen = |now: &[u8], line| {
            let lines = Lines::of(&subject(line));
            touched(&before, now, 8192, lines).left_bytes
        };
        assert_eq!(seen(&now, Some(100)), 0);
        assert_eq!(seen(&now, None), 50 * 28 + 8192 - 50 * 128);
        // A line that was left out, though not what is behind its pixels.
        now[256..384].copy_from_slice(&before[256..384]);
        assert_eq!(seen(&now, Some(100)), 100);
        assert_eq!(Lines::of(&subject(Some(0))), None);
        assert_eq!(Lines::of(&subject(Some(129))), None);
    }
}
