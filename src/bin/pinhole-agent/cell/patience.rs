//! How long an experiment waits for what must come.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How many times as long as usual. The process is that of one experiment.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

/// Sets how many times as long as usual is waited from now on.
pub fn set(times: u32) {
    PATIENCE.store(times.max(1), Ordering::Relaxed);
}

/// How long is waited here for what elsewhere comes within `usual`.
pub fn of(usual: Duration) -> Duration {
    usual.saturating_mul(PATIENCE.load(Ordering::Relaxed))
}
