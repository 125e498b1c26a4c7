//! How busy the processors are.

use std::time::{Duration, Instant};

use crate::guest::failure::Failure;

/// The processors' time at a moment.
pub struct Processors {
    at: Instant,
    /// Number of processors.
    count: u32,
    /// Time that they were idle since the kernel started, all added up.
    idle: Duration,
}

impl Processors {
    /// Reads the kernel's count.
    pub fn look() -> Result<Self, Failure> {
        let text = std::fs::read_to_string("/proc/stat")
            .map_err(|error| Failure::io("read /proc/stat", error))?;
        let (count, ticks) = parse(&text)
            .ok_or_else(|| Failure::new("read /proc/stat: it has no line of processors"))?;
        let rate = rustix::param::clock_ticks_per_second().max(1);
        Ok(Self {
            at: Instant::now(),
            count,
            idle: Duration::from_micros(ticks.saturating_mul(1_000_000) / rate),
        })
    }

    /// Returns the time since then, and for how much of it processors were not
    /// idle, all added up.
    pub fn since(&self, before: &Self) -> (Duration, Duration) {
        let elapsed = self.at - before.at;
        let idle = self.idle.saturating_sub(before.idle);
        (elapsed, (elapsed * self.count).saturating_sub(idle))
    }
}

/// Returns the number of processors in the text of /proc/stat, and the ticks
/// that they were idle or waited for a disk (proc_stat(5)).
fn parse(text: &str) -> Option<(u32, u64)> {
    let count = text
        .lines()
        .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "))
        .count();
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut ticks = all.split_whitespace().skip(3).map(str::parse::<u64>);
    let (idle, waiting) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((u32::try_from(count).ok()?, idle + waiting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_that_of_all_processors() {
        let text = "cpu  10 0 20 300 4 5 6 0 0 0\ncpu0 1 2\ncpu1 3 4\nintr 5\n";
        assert_eq!(parse(text), Some((2, 304)));
        assert_eq!(parse("cpu  10 0 20\ncpu0\n"), None);
        assert_eq!(parse("intr 5\n"), None);
    }

    #[test]
    fn what_is_not_idle_is_busy() {
        let before = Processors {
            at: Instant::now(),
            count: 2,
            idle: Duration::from_secs(5),
        };
        let after = Processors {
            at: before.at + Duration::from_secs(10),
            count: 2,
            idle: Duration::from_secs(17),
        };
        let (elapsed, busy) = after.since(&before);
        assert_eq!((elapsed.as_secs(), busy.as_secs()), (10, 8));
        // The ticks may be ahead of the clock.
        let idler = Processors {
            idle: Duration::from_secs(30),
            ..after
        };
        assert_eq!(idler.since(&before).1, Duration::ZERO);
    }
}
