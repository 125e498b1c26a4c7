//! How long a cell waits for what must come.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a frame may take to come; a frame takes some milliseconds.
pub const FRAME_LIMIT: Duration = Duration::from_secs(10);

/// How many times as long as usual. The process is that of one cell.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

/// Sets how many times as long as usual is waited from now on.
pub fn set(times: u32) {
    PATIENCE.store(times.max(1), Ordering::Relaxed);
}

/// How long is waited here for what elsewhere comes within `usual`.
pub fn of(usual: Duration) -> Duration {
    usual.saturating_mul(PATIENCE.load(Ordering::Relaxed))
}
