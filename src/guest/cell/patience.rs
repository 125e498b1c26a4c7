//! How long a cell waits for an expected event.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a frame may take; usually it takes some milliseconds.
pub const FRAME_LIMIT: Duration = Duration::from_secs(10);

/// Factor by which all waits are longer than usual. The process runs only one
/// cell.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

/// Sets the factor by which all waits are longer than usual from now on.
pub fn set(times: u32) {
    PATIENCE.store(times.max(1), Ordering::Relaxed);
}

/// Returns how long to wait for an event that usually comes within `usual`.
pub fn of(usual: Duration) -> Duration {
    usual.saturating_mul(PATIENCE.load(Ordering::Relaxed))
}
