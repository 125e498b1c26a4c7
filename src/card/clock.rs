//! The clock of a stream: when each frame is due.

use std::time::Duration;

use crate::source::{FrameInfo, Pace};

/// The current time, which the caller gives the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// CLOCK_MONOTONIC.
    pub monotonic: Duration,
    /// Time since the Unix epoch.
    pub wall: Duration,
}

/// How fast the card makes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rate {
    /// One frame per interval, which the guest sets with VIDIOC_S_PARM. The
    /// card drops a frame that is due while no buffer is queued, or that it is
    /// too slow to make.
    #[default]
    Guest,
    /// A frame as soon as a buffer is queued; no frame is ever dropped.
    Max,
}

/// Number of frames that may be due at once before the late ones are dropped. A
/// hiccup of the host of that length costs no frame. No frame is made more than
/// that many intervals late, however slow the card is.
pub const GRACE: u64 = 4;

/// Most frames in a second.
pub const MAX_FPS: u32 = 240;

/// The frame interval: seconds from one frame to the next, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Numerator.
    pub numerator: u32,
    /// Denominator.
    pub denominator: u32,
}

impl Interval {
    /// The interval of [`MAX_FPS`] frames per second.
    pub const MIN: Self = Self::new(1, MAX_FPS);
    /// The interval of one frame per second.
    pub const MAX: Self = Self::new(1, 1);
    /// The interval of 60 frames per second.
    pub const DEFAULT: Self = Self::new(1, 60);

    const fn new(numerator: u32, denominator: u32) -> Self {
        Self {
            numerator,
            denominator,
        }
    }

    /// Returns the interval of a rate in frames per second. A rate outside 1 to
    /// 240 gives the nearest interval within that range.
    pub fn of_rate(fps: u32) -> Self {
        Self::new(1, fps).at_least(Self::MIN).at_most(Self::MAX)
    }

    /// Returns the interval with exactly that fraction of seconds, if the card
    /// supports it.
    pub fn exact(numerator: u32, denominator: u32) -> Option<Self> {
        let interval = Self::new(numerator, denominator);
        let is_had = numerator > 0
            && denominator > 0
            && !interval.is_shorter_than(Self::MIN)
            && !Self::MAX.is_shorter_than(interval);
        is_had.then_some(interval)
    }

    /// Returns whether this interval is nearer to `wanted` than `other` is.
    pub fn is_nearer(self, other: Self, wanted: Self) -> bool {
        // Each difference is a fraction over the product of its own denominator
        // and the denominator of `wanted`; the latter is left out on both
        // sides. The product of three factors of 32 bits, and a difference, fit
        // in 128 bits.
        let difference = |one: Self| {
            let ours = u128::from(one.numerator) * u128::from(wanted.denominator);
            let theirs = u128::from(wanted.numerator) * u128::from(one.denominator);
            ours.abs_diff(theirs)
        };
        difference(self) * u128::from(other.denominator)
            < difference(other) * u128::from(self.denominator)
    }

    /// Returns the supported interval nearest to the fraction; `shortest` is
    /// the shortest one supported. A fraction with a zero, by which V4L2 leaves
    /// the choice to the driver, gives the default interval.
    pub fn nearest(numerator: u32, denominator: u32, shortest: Self) -> Self {
        let asked = match (numerator, denominator) {
            (0, _) | (_, 0) => Self::DEFAULT,
            (numerator, denominator) => Self::new(numerator, denominator),
        };
        asked.at_least(shortest).at_most(Self::MAX)
    }

    /// Returns this interval, or `bound` if that is longer.
    pub fn at_least(self, bound: Self) -> Self {
        if self.is_shorter_than(bound) {
            bound
        } else {
            self
        }
    }

    /// Returns this interval, or `bound` if that is not longer.
    fn at_most(self, bound: Self) -> Self {
        if self.is_shorter_than(bound) {
            self
        } else {
            bound
        }
    }

    fn is_shorter_than(self, other: Self) -> bool {
        u64::from(self.numerator) * u64::from(other.denominator)
            < u64::from(other.numerator) * u64::from(self.denominator)
    }
}

/// The clock of a stream. Frame `n` is due `n + 1` intervals after the start of
/// the stream, since a sensor takes an interval to expose and read out the
/// first frame.
#[derive(Debug, Clone)]
pub struct Clock {
    rate: Rate,
    interval: Interval,
    start: Now,
    /// Number of the stream.
    stream: u32,
    /// Number of the next frame.
    next: u64,
}

impl Clock {
    /// Returns the clock of stream number `stream`, which starts at `start`.
    pub fn new(rate: Rate, interval: Interval, start: Now, stream: u32) -> Self {
        Self {
            rate,
            interval,
            start,
            stream,
            next: 0,
        }
    }

    /// Returns the V4L2 sequence number of the next frame.
    pub fn sequence(&self) -> u32 {
        // V4L2's counter wraps as well.
        self.next as u32
    }

    /// Returns when the next frame is due, on CLOCK_MONOTONIC. That time may be
    /// in the past.
    pub fn due(&self) -> Duration {
        self.start.monotonic + self.elapsed_at_next()
    }

    /// Returns the next frame if it is due. The clock stays at this frame until
    /// [`advance`](Self::advance) is called.
    pub fn peek(&self, now: Now) -> Option<FrameInfo> {
        if now.monotonic < self.due() {
            return None;
        }
        Some(match self.rate {
            Rate::Guest => self.frame_at(self.elapsed_at_next()),
            Rate::Max => self.frame_at(self.elapsed(now)),
        })
    }

    /// Returns the pace of the frames.
    pub fn pace(&self) -> Pace {
        match self.rate {
            Rate::Guest => Pace::Every(self.interval.numerator, self.interval.denominator),
            Rate::Max => Pace::Free,
        }
    }

    /// Returns the next frame before it is due, if its time is known.
    pub fn expected(&self) -> Option<FrameInfo> {
        (self.rate == Rate::Guest).then(|| self.frame_at(self.elapsed_at_next()))
    }

    fn frame_at(&self, elapsed: Duration) -> FrameInfo {
        FrameInfo {
            stream: self.stream,
            sequence: self.sequence(),
            elapsed,
            wall: self.start.wall + elapsed,
        }
    }

    /// Advances to the following frame.
    pub fn advance(&mut self) {
        self.next += 1;
    }

    /// Skips all frames that are due, and returns how many it skipped.
    pub fn skip(&mut self, now: Now) -> u64 {
        let skipped = self.count_due(now);
        self.next += skipped;
        skipped
    }

    /// Skips all frames that are due except the last one, and returns how many
    /// it skipped.
    pub fn skip_to_last(&mut self, now: Now) -> u64 {
        let skipped = self.count_due(now).saturating_sub(1);
        self.next += skipped;
        skipped
    }

    /// If more than [`GRACE`] frames are due, skips all of them except the last
    /// one. Returns how many it skipped.
    pub fn skip_late(&mut self, now: Now) -> u64 {
        match self.count_due(now) > GRACE {
            true => self.skip_to_last(now),
            false => 0,
        }
    }

    /// Returns how many frames are due and can be missed.
    fn count_due(&self, now: Now) -> u64 {
        if self.rate == Rate::Max || now.monotonic < self.due() {
            return 0;
        }
        // The largest n with floor(n * nanoseconds / parts) <= elapsed is the
        // number of frames that have been due since the start.
        let (nanoseconds, parts) = self.nanoseconds();
        let bound = (self.elapsed(now).as_nanos() + 1) * parts;
        let due = ((bound - 1) / nanoseconds) as u64;
        due - self.next
    }

    /// Returns the time since the start.
    pub fn elapsed(&self, now: Now) -> Duration {
        now.monotonic.saturating_sub(self.start.monotonic)
    }

    fn elapsed_at_next(&self) -> Duration {
        match self.rate {
            Rate::Guest => {
                let (nanoseconds, parts) = self.nanoseconds();
                let intervals = u128::from(self.next) + 1;
                Duration::from_nanos((intervals * nanoseconds / parts) as u64)
            }
            Rate::Max => Duration::ZERO,
        }
    }

    /// Returns the interval as a fraction of nanoseconds.
    fn nanoseconds(&self) -> (u128, u128) {
        (
            u128::from(self.interval.numerator) * 1_000_000_000,
            u128::from(self.interval.denominator),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanoseconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(1000) + Duration::from_nanos(nanoseconds),
            wall: Duration::from_secs(5000) + Duration::from_nanos(nanoseconds),
        }
    }

    fn take(clock: &mut Clock, now: Now) -> Option<FrameInfo> {
        let frame = clock.peek(now)?;
        clock.advance();
        Some(frame)
    }

    #[test]
    fn an_interval_is_kept_within_bounds() {
        for (fraction, nearest) in [
            ((0, 1), Interval::DEFAULT),
            ((1, 0), Interval::DEFAULT),
            ((1, 241), Interval::MIN),
            ((1, u32::MAX), Interval::MIN),
            ((1, 240), Interval::MIN),
            ((2, 3), Interval::new(2, 3)),
            ((1001, 30000), Interval::new(1001, 30000)),
            ((5, 5), Interval::MAX),
            ((u32::MAX, 1), Interval::MAX),
        ] {
            let got = Interval::nearest(fraction.0, fraction.1, Interval::MIN);
            assert_eq!(got, nearest);
        }
    }

    #[test]
    fn a_frame_is_due_exactly_at_its_time() {
        // The stream makes 3 frames in 1001 / 10000 s; an interval is not a
        // whole number of nanoseconds.
        let mut clock = Clock::new(Rate::Guest, Interval::new(1001, 30000), at(0), 1);
        let due = [33_366_666, 66_733_333, 100_100_000];
        for (n, due) in due.into_iter().enumerate() {
            assert_eq!(take(&mut clock, at(due - 1)), None);
            let frame = take(&mut clock, at(due)).unwrap();
            assert_eq!(frame.sequence, n as u32);
            assert_eq!(frame.elapsed, Duration::from_nanos(due));
            assert_eq!(frame.wall, at(due).wall);
        }
    }

    #[test]
    fn skipping_counts_exactly_the_frames_that_are_due() {
        for interval in [
            Interval::DEFAULT,
            Interval::new(1001, 30000),
            Interval::MIN,
            Interval::new(7, 9),
        ] {
            for late in [
                0,
                1,
                4_166_666,
                4_166_667,
                16_666_666,
                16_666_667,
                999_999_999,
            ] {
                let mut skipping = Clock::new(Rate::Guest, interval, at(0), 1);
                let mut taking = skipping.clone();
                let mut taken = 0u64;
                while take(&mut taking, at(late)).is_some() {
                    taken += 1;
                }
                let mut late_one = skipping.clone();
                let missed = late_one.skip_to_last(at(late));
                assert_eq!(missed, taken.saturating_sub(1));
                assert_eq!(late_one.peek(at(late)).is_some(), taken > 0);
                assert_eq!(skipping.skip(at(late)), taken, "{interval:?} {late}");
                assert_eq!(skipping.due(), taking.due());
                assert_eq!(skipping.skip(at(late)), 0);
            }
        }
    }

    #[test]
    fn a_year_late_is_one_calculation() {
        let mut clock = Clock::new(Rate::Guest, Interval::MIN, at(0), 1);
        let year = 365 * 86400;
        assert_eq!(clock.skip(at(year * 1_000_000_000)), year * 240);
        assert_eq!(clock.sequence(), ((year * 240) % (1 << 32)) as u32);
    }

    #[test]
    fn at_the_highest_rate_a_frame_is_always_due_and_none_is_skipped() {
        let mut clock = Clock::new(Rate::Max, Interval::DEFAULT, at(0), 1);
        for n in 0..3 {
            assert_eq!(clock.skip(at(n * 1_000_000_000)), 0);
            let frame = take(&mut clock, at(10 * n)).unwrap();
            assert_eq!(frame.sequence, n as u32);
            assert_eq!(frame.elapsed, Duration::from_nanos(10 * n));
        }
    }
}
