//! The counters of a running card.
//!
//! Counting takes no lock and no memory. A counter is never reset, neither by
//! STREAMOFF nor by the guest. The card has no clock: the caller reports the
//! times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Card, Now};

/// Number of bounds of the histogram: the powers of two from 16 us to 2^20 us.
const BUCKETS: usize = 17;
/// Exponent of the first bound, as a power of two.
const FIRST: u32 = 4;

/// Largest number of frames over which the rate is measured.
const RECENT: usize = 64;
/// Age in which frames count for the rate.
const WINDOW: Duration = Duration::from_secs(2);

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Histogram {
    /// Number of durations in each bucket; the last one holds those longer than
    /// any bound.
    counts: [u64; BUCKETS + 1],
    sum: Duration,
}

impl Histogram {
    fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        // The bound is the least power of two that is not below the duration.
        let bound = us.max(1).checked_next_power_of_two();
        let power = bound.map_or(u64::BITS, u64::trailing_zeros);
        let bucket = power.saturating_sub(FIRST) as usize;
        self.counts[bucket.min(BUCKETS)] += 1;
        self.sum = self.sum.saturating_add(duration);
    }
}

/// The counters of a card.
#[derive(Debug, Clone)]
pub struct Statistics {
    frames: u64,
    errors: u64,
    pub(super) dropped: u64,
    bytes: u64,
    segments: u64,
    most_segments: u64,
    dma: Histogram,
    /// Times at which the last frames were made, in no order: the next one
    /// replaces the oldest, at `frames` modulo their number.
    recent: [Duration; RECENT],
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            frames: 0,
            errors: 0,
            dropped: 0,
            bytes: 0,
            segments: 0,
            most_segments: 0,
            dma: Histogram::default(),
            recent: [Duration::ZERO; RECENT],
        }
    }
}

impl Statistics {
    /// Counts a frame of `bytes` bytes that was written into `segments`
    /// segments.
    pub fn frame(&mut self, now: Now, bytes: u64, segments: usize) {
        let segments = segments as u64;
        self.recent[(self.frames % RECENT as u64) as usize] = now.monotonic;
        self.frames += 1;
        self.bytes += bytes;
        self.segments += segments;
        self.most_segments = self.most_segments.max(segments);
    }

    /// Counts buffers that were returned without a whole frame.
    pub fn errors(&mut self, count: usize) {
        self.errors += count as u64;
    }

    /// Records how long a frame took.
    pub fn took(&mut self, duration: Duration) {
        self.dma.record(duration);
    }

    /// Returns the counters; of the card's state it knows nothing.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            frames: self.frames,
            dropped: self.dropped,
            errors: self.errors,
            bytes: self.bytes,
            segments: self.segments,
            most_segments: self.most_segments,
            dma: (&self.dma).into(),
            fps: self.fps(now),
            ..Snapshot::default()
        }
    }

    /// Returns the rate of the frames of the last two seconds, or of as many of
    /// them as are remembered.
    fn fps(&self, now: Now) -> f64 {
        let known = usize::try_from(self.frames).map_or(RECENT, |frames| frames.min(RECENT));
        let since = now.monotonic.saturating_sub(WINDOW);
        let recent = self.recent[..known].iter().filter(|time| **time >= since);
        let (mut first, mut last, mut count) = (Duration::MAX, Duration::ZERO, 0u32);
        for &time in recent {
            (first, last, count) = (first.min(time), last.max(time), count + 1);
        }
        if count < 2 || first == last {
            return 0.0;
        }
        f64::from(count - 1) / (last - first).as_secs_f64()
    }
}

/// The statistics of a card at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Frames written since the card was started; all totals here count from
    /// then.
    pub frames: u64,
    /// Frames that were due and not made, because no buffer was queued or the
    /// card was too slow.
    pub dropped: u64,
    /// Buffers returned with V4L2_BUF_FLAG_ERROR.
    pub errors: u64,
    /// Bytes written into guest memory.
    pub bytes: u64,
    /// Segments into which the frames were written.
    pub segments: u64,
    /// Largest number of segments in one frame.
    pub most_segments: u64,
    /// Time to draw a frame and write it to guest memory, one page after the
    /// other.
    pub dma: DmaTimes,
    /// Buffers currently queued for a frame.
    pub queued: u64,
    /// Events that the guest has not taken yet.
    pub events_pending: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Whether a stream is on.
    pub streaming: bool,
    /// V4L2 pixel format as its four characters.
    pub format: String,
    /// Pixels per line.
    pub width: u32,
    /// Lines per frame.
    pub height: u32,
    /// Measured rate in frames per second; zero without frames in the last two
    /// seconds.
    pub fps: f64,
}

/// A histogram of durations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DmaTimes {
    /// The buckets in ascending order of their bounds. Each counts the
    /// durations that are longer than the bound before it and not longer than
    /// its own.
    pub buckets: Vec<Bucket>,
    /// Number of durations longer than the last bound.
    pub longer: u64,
    /// Sum of all durations in microseconds.
    pub sum_us: u64,
}

impl DmaTimes {
    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| bucket.count)
            .sum::<u64>()
            .saturating_add(self.longer)
    }
}

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Upper bound in microseconds.
    pub up_to_us: u64,
    /// Number of durations in the bucket.
    pub count: u64,
}

impl From<&Histogram> for DmaTimes {
    fn from(histogram: &Histogram) -> Self {
        let (within, longer) = histogram.counts.split_at(BUCKETS);
        Self {
            buckets: (FIRST..)
                .zip(within)
                .map(|(power, &count)| Bucket {
                    up_to_us: 1 << power,
                    count,
                })
                .collect(),
            longer: longer[0],
            sum_us: histogram.sum.as_micros() as u64,
        }
    }
}

impl Card {
    /// Records how long the [`tick`](Card::tick) that made a frame took; the
    /// card has no clock of its own.
    pub fn frame_took(&mut self, duration: Duration) {
        self.statistics.took(duration);
    }

    /// Returns the counters, and the current state of the card.
    pub fn statistics(&self, now: Now) -> Snapshot {
        Snapshot {
            queued: self.buffers.queued() as u64,
            events_pending: self.buffers.done() as u64 + self.sessions.waiting_events(),
            sessions: self.sessions.count() as u64,
            streaming: self.stream.is_some(),
            format: self.layout.format.to_string(),
            width: self.layout.width,
            height: self.layout.height,
            ..self.statistics.snapshot(now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(100) + Duration::from_millis(ms),
            wall: Duration::ZERO,
        }
    }

    #[test]
    fn a_duration_is_in_the_bucket_that_bounds_it() {
        for (nanoseconds, bound) in [
            (0, Some(16)),
            (16_000, Some(16)),
            (16_001, Some(32)),
            (32_000, Some(32)),
            (1_000_000, Some(1024)),
            (1_048_576_000, Some(1 << 20)),
            (1_048_576_001, None),
            (u64::MAX, None),
        ] {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanoseconds));
            let times = DmaTimes::from(&histogram);
            let full = times.buckets.iter().find(|bucket| bucket.count == 1);
            assert_eq!(
                full.map(|bucket| bucket.up_to_us),
                bound,
                "{nanoseconds} ns"
            );
            assert_eq!(times.longer, u64::from(bound.is_none()));
            assert_eq!(times.count(), 1);
        }
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX / 2);
        assert_eq!(DmaTimes::from(&histogram).longer, 1);
    }

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.fps(at(0)), 0.0);
        statistics.frame(at(0), 1, 1);
        assert_eq!(statistics.fps(at(0)), 0.0);
        // The frames come at 100 per second, more than are remembered; then at
        // 10 per second.
        for n in 1..=200 {
            statistics.frame(at(10 * n), 1, 1);
        }
        assert!((statistics.fps(at(2000)) - 100.0).abs() < 1e-6);
        for n in 1..=30 {
            statistics.frame(at(2000 + 100 * n), 1, 1);
        }
        assert!((statistics.fps(at(5000)) - 10.0).abs() < 1e-6);
        assert_eq!(statistics.fps(at(8000)), 0.0);
    }
}
