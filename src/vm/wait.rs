//! Waiting for descriptors, with a deadline, and until the user interrupts.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::interrupt;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitResult {
    /// The descriptor with this index is readable, or its other end is closed.
    Ready(usize),
    /// The deadline passed.
    TimedOut,
    /// SIGINT or SIGTERM arrived: the caller must give up its work.
    Interrupted,
}

/// Waits until one of `fds` is readable, the deadline passes, or SIGINT or
/// SIGTERM arrives.
pub fn readable(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<WaitResult> {
    let mut all = vec![interrupt::watch()?];
    all.extend_from_slice(fds);
    Ok(match poll_until(&all, deadline)? {
        Some(0) => WaitResult::Interrupted,
        Some(index) => WaitResult::Ready(index - 1),
        None => WaitResult::TimedOut,
    })
}

/// Does the same as [`readable`], but for cleaning up, which an interrupt must
/// not stop.
pub fn readable_regardless(
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<WaitResult> {
    Ok(match poll_until(fds, deadline)? {
        Some(index) => WaitResult::Ready(index),
        None => WaitResult::TimedOut,
    })
}

fn poll_until(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Option<usize>> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(fds.iter().position(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
