//! How long a cell waits for an expected event.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

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

/// Waits until `is_there` says so, by looking again and again: for what is told by no
/// event.
///
/// # Errors
///
/// ETIMEDOUT after `limit`, or the error of a look.
pub fn wait_until(
    limit: Duration,
    mut is_there: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    /// Time between two looks.
    const LOOK: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + limit;
    while !is_there()? {
        if Instant::now() >= deadline {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_is_there_an_error_or_its_limit() {
        let errno = |waited: io::Result<()>| waited.map_err(|error| error.raw_os_error());
        let mut looks = 0;
        let third = || {
            looks += 1;
            Ok(looks == 3)
        };
        assert_eq!(errno(wait_until(FRAME_LIMIT, third)), Ok(()));
        assert_eq!(looks, 3);
        let broken = || Err(io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(errno(wait_until(FRAME_LIMIT, broken)), Err(Some(libc::EIO)));
        let never = || Ok(false);
        let late = errno(wait_until(Duration::ZERO, never));
        assert_eq!(late, Err(Some(libc::ETIMEDOUT)));
    }
}
