//! How even the timestamps of a stream are.

use serde::Serialize;

use super::BenchError;
use super::guest::{BenchGuest, CARD};
use super::spread::{quantile, sorted};
use crate::agent::bench::{Stream, StreamMemory};

/// The rates, in frames per second.
const RATES: [u32; 2] = [60, 240];

/// For how long a stream is measured, in seconds.
const SECONDS: u32 = 2;

/// The distances of the timestamps from an even rate.
#[derive(Debug, Clone, Serialize)]
pub struct Jitter {
    /// Frames per second that were asked for.
    pub rate: u32,
    /// Frames per second that came, by the timestamps.
    pub came: f64,
    /// Median of how much the time from one frame to the next differs from the
    /// period, in microseconds.
    pub median_us: f64,
    /// Its 99th percentile.
    pub p99_us: f64,
    /// Its greatest value.
    pub max_us: f64,
    /// Number of frames that the device did not deliver.
    pub dropped: u64,
}

/// Measures at all rates; the values are of all runs together.
pub fn measure(guest: &BenchGuest, runs: u32) -> Result<Vec<Jitter>, BenchError> {
    let mut all = Vec::new();
    for rate in RATES {
        let mut steps_us = Vec::new();
        let mut dropped = 0;
        for _ in 0..runs {
            let answer = guest.stream(Stream {
                device: CARD.to_owned(),
                memory: StreamMemory::Userptr,
                format: "YUYV".to_owned(),
                width: 640,
                height: 480,
                rate: Some(rate),
                buffers: 8,
                warm_up: rate / 4,
                frames: rate * SECONDS,
                limit_ms: 0,
            })?;
            steps_us.extend(steps(&answer.timestamps_us));
            dropped += answer.dropped;
        }
        all.push(of(rate, &steps_us, dropped));
    }
    Ok(all)
}

fn steps(timestamps_us: &[u64]) -> impl Iterator<Item = f64> {
    let pairs = timestamps_us.windows(2);
    pairs.map(|pair| pair[1] as f64 - pair[0] as f64)
}

/// Returns the jitter of those times from one frame to the next.
fn of(rate: u32, steps_us: &[f64], dropped: u64) -> Jitter {
    let period_us = 1e6 / f64::from(rate);
    let off = sorted(steps_us.iter().map(|step| (step - period_us).abs()));
    let all_us: f64 = steps_us.iter().sum();
    Jitter {
        rate,
        came: match all_us > 0.0 {
            true => steps_us.len() as f64 * 1e6 / all_us,
            false => 0.0,
        },
        median_us: quantile(&off, 0.5),
        p99_us: quantile(&off, 0.99),
        max_us: quantile(&off, 1.0),
        dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_stream_has_no_jitter_and_a_late_frame_has() {
        let even: Vec<f64> = steps(&[0, 10_000, 20_000, 30_000]).collect();
        let jitter = of(100, &even, 0);
        assert_eq!((jitter.came, jitter.max_us), (100.0, 0.0));
        let late: Vec<f64> = steps(&[0, 10_000, 21_000, 30_000]).collect();
        let jitter = of(100, &late, 2);
        assert_eq!((jitter.median_us, jitter.max_us), (1000.0, 1000.0));
        assert_eq!((jitter.came, jitter.dropped), (100.0, 2));
    }
}
