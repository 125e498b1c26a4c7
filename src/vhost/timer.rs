//! The timer and the clocks of the daemon.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::card::Now;

/// Returns the current time.
pub fn now() -> Now {
    let since_zero = |clock| {
        let time = clock_gettime(clock);
        // Neither clock is negative on a running machine.
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    };
    Now {
        monotonic: since_zero(ClockId::Monotonic),
        wall: since_zero(ClockId::Realtime),
    }
}

/// A timer on CLOCK_MONOTONIC that makes its file descriptor readable when it
/// expires.
#[derive(Debug)]
pub struct Timer {
    file: OwnedFd,
    /// Whether the timer was set to a deadline, which may have passed.
    set: bool,
}

impl Timer {
    /// Creates a timer that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            file: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            set: false,
        })
    }

    /// Sets the timer to `deadline`, or disarms it; an expiry that was not read
    /// yet is dropped.
    pub fn set(&mut self, deadline: Option<Duration>) {
        // Most commands find the timer disarmed and leave it so.
        if !self.set && deadline.is_none() {
            return;
        }
        self.set = deadline.is_some();
        let value = deadline.map_or(Timespec::default(), |deadline| Timespec {
            tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
            // Zero in both fields would disarm the timer.
            tv_nsec: i64::from(deadline.subsec_nanos().max(1)),
        });
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        // The call fails only for a bad file descriptor or time.
        if let Err(error) = timerfd_settime(&self.file, TimerfdTimerFlags::ABSTIME, &spec) {
            log::error!("the timer cannot be set to {deadline:?}: {error}");
        }
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
