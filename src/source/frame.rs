//! What the card and its sources tell each other of a frame: which one it is, when
//! it is due, and whether it can be had.

use std::time::Duration;

/// The properties of the frame that a source is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// Number of its stream, incremented at every STREAMON.
    pub stream: u32,
    /// V4L2 sequence number of the frame.
    pub sequence: u32,
    /// Time since STREAMON at which the frame was due.
    pub elapsed: Duration,
    /// Time of day at which the frame was due, since the Unix epoch.
    pub wall: Duration,
}

/// The times of a stream's frames, as far as they are known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A frame is due at every multiple of these seconds, a fraction, after
    /// STREAMON.
    Every(u32, u32),
    /// A frame is due when the guest has a buffer.
    Free,
}

impl Pace {
    /// Returns the frame that follows `frame` if none is dropped. At
    /// [`Pace::Free`] it has the same time, which is the earliest possible one.
    pub fn after(self, frame: &FrameInfo) -> FrameInfo {
        let elapsed = match self {
            Self::Every(numerator, denominator) => {
                let nanoseconds = u128::from(numerator) * 1_000_000_000;
                let parts = u128::from(denominator);
                // Times are rounded down, and an interval is far longer than
                // a nanosecond.
                let intervals = (frame.elapsed.as_nanos() * parts).div_ceil(nanoseconds) + 1;
                Duration::from_nanos((intervals * nanoseconds / parts) as u64)
            }
            Self::Free => frame.elapsed,
        };
        FrameInfo {
            sequence: frame.sequence.wrapping_add(1),
            elapsed,
            wall: frame.wall.saturating_sub(frame.elapsed) + elapsed,
            ..*frame
        }
    }
}

/// The result of [`Source::begin`](super::Source::begin).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// The frame can be [filled](super::Source::fill).
    Frame {
        /// Its length in bytes: [`Layout::sizeimage`](super::Layout::sizeimage), or less if compressed.
        bytes: u32,
    },
    /// There is nothing to show yet, for example because a pipe stalls; the
    /// card asks again later.
    Late,
    /// No further frame will come.
    Ended,
}

/// The native properties of a source, before its picture is fitted to the
/// requested format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Native {
    /// Width in pixels and height in lines; `None` if the source draws in any
    /// size.
    pub size: Option<(u32, u32)>,
    /// Seconds between frames, as a fraction; `None` if the source has no rate
    /// of its own.
    pub interval: Option<(u32, u32)>,
    /// Whether the card takes on that size and tells the guest
    /// (V4L2_EVENT_SOURCE_CHANGE), instead of having the picture fitted.
    pub follow: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_follows_from_the_one_before() {
        for (numerator, denominator) in [(1, 60), (1001, 30000), (1, 240), (1, 1), (7, 9)] {
            let due = |n: u64| {
                let nanoseconds = u128::from(n + 1) * u128::from(numerator) * 1_000_000_000;
                Duration::from_nanos((nanoseconds / u128::from(denominator)) as u64)
            };
            let wall = Duration::from_secs(5000);
            let mut frame = FrameInfo {
                stream: 3,
                sequence: 0,
                elapsed: due(0),
                wall: wall + due(0),
            };
            for n in 1..10_000u32 {
                frame = Pace::Every(numerator, denominator).after(&frame);
                assert_eq!((frame.stream, frame.sequence), (3, n));
                assert_eq!(
                    frame.elapsed,
                    due(n.into()),
                    "{n}: {numerator}/{denominator}"
                );
                assert_eq!(frame.wall, wall + frame.elapsed);
            }
            let free = Pace::Free.after(&frame);
            assert_eq!((free.elapsed, free.wall), (frame.elapsed, frame.wall));
            assert_eq!(free.sequence, 10_000);
        }
    }
}
