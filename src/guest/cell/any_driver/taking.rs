//! Takes the frames of a device of any driver, until the first buffer came back with
//! one that is whole, and some more.

use std::io;
use std::time::{Duration, Instant};

use crate::agent::cell::evidence::{Evidence, ReturnSeen};
use crate::wire::buffer::{BUF_FLAG_DONE, BUF_FLAG_ERROR, Buffer, MEMORY_USERPTR};

use super::Transfer;
use super::came::ERRORS_MAX;
use crate::guest::cell::Stop;

/// Most buffers that come back before the first one does.
const RETURNS_MAX: usize = 64;

/// Number of frames that are dequeued after the first buffer's.
const MORE: usize = 3;

impl Transfer<'_> {
    /// Takes frames until the first buffer came back with one that is told; returns
    /// whether it did.
    pub(super) fn take_first(&mut self, deadline: Instant) -> Result<bool, Stop> {
        for _ in 0..RETURNS_MAX {
            let Some(index) = self.take_frame(deadline)? else {
                return Ok(false);
            };
            if self.came[0].frames > 0 {
                return Ok(true);
            }
            if !self.queue_again(index) {
                return Ok(false);
            }
        }
        self.fail(format!(
            "the first buffer did not come back, {RETURNS_MAX} others did"
        ));
        Ok(false)
    }

    /// Takes a few frames more, with the first buffer as well, so that their order is
    /// seen.
    pub(super) fn take_more(&mut self, deadline: Instant) -> Result<(), Stop> {
        let mut index = 0;
        for number in 1..=MORE {
            if !self.queue_again(index) {
                break;
            }
            index = match self.take_frame(deadline)? {
                Some(next) => next,
                None => {
                    self.fail(format!(
                        "frame {number} after the first buffer's did not come"
                    ));
                    break;
                }
            };
        }
        Ok(())
    }

    /// Queues a buffer that was dequeued; returns whether the device took it.
    fn queue_again(&self, index: usize) -> bool {
        let queued = self.queue(index);
        if let Err(error) = &queued {
            self.fail(format!(
                "VIDIOC_QBUF of buffer {index}, which was queued before: {error}"
            ));
        }
        queued.is_ok()
    }

    /// Waits until the first buffer is done; it stays with the driver. While its frame
    /// is in error it is queued again.
    pub(super) fn wait_for_whole(&mut self, deadline: Instant) -> Result<io::Result<()>, Stop> {
        loop {
            let wait = || self.wait_for_first(deadline);
            let flags = match self.writer.call("poll for the frame", wait) {
                Ok(flags) => flags,
                Err(error) => return Ok(Err(error)),
            };
            if flags & BUF_FLAG_ERROR == 0 || self.came[0].errors == ERRORS_MAX {
                return Ok(Ok(()));
            }
            // Those that were done before it come back before it.
            for _ in 0..self.buffers.len() {
                let Some(index) = self.take_frame(deadline)? else {
                    return Ok(Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)));
                };
                if !self.queue_again(index) {
                    return Ok(Err(io::Error::from_raw_os_error(libc::EIO)));
                }
                if index == 0 {
                    break;
                }
            }
        }
    }

    /// Waits until the first buffer is done; returns its flags.
    fn wait_for_first(&self, deadline: Instant) -> io::Result<u32> {
        /// Time between two looks.
        const LOOK: Duration = Duration::from_millis(1);
        let device = self.device()?;
        loop {
            let flags = device.flags(0, MEMORY_USERPTR)?;
            if flags & BUF_FLAG_DONE != 0 {
                return Ok(flags);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for a buffer, dequeues it and tells of it; returns its index, or nothing
    /// if none comes.
    fn take_frame(&mut self, deadline: Instant) -> Result<Option<usize>, Stop> {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = || self.device()?.wait(left);
        if self.writer.call("poll", wait).is_err() {
            return Ok(None);
        }
        let dequeue = || self.device()?.dequeue_whole(MEMORY_USERPTR);
        let Ok((frame, begins)) = self.writer.call("VIDIOC_DQBUF", dequeue) else {
            return Ok(None);
        };
        self.writer.write(&Evidence::Return(returned(&frame)));
        let index = frame.index.get() as usize;
        let Some(buffer) = self.buffers.get(index) else {
            return Err(Stop::Failed(format!(
                "the device gave back buffer {index}, of {}",
                self.buffers.len()
            )));
        };
        let may_pass = (index != 0 || self.may_queue_again) && Instant::now() < deadline;
        let is_first = self.came[index].count(frame.flags.get(), may_pass);
        if is_first && buffer.is_told() {
            buffer.tell_frame(&frame, begins, || Ok(()))?;
        }
        Ok(Some(index))
    }
}

/// Returns the evidence of a buffer that came back.
fn returned(buffer: &Buffer) -> ReturnSeen {
    let seconds = buffer.timestamp_sec.get().max(0) as u64;
    let rest = buffer.timestamp_usec.get().max(0) as u64;
    ReturnSeen {
        index: buffer.index.get(),
        sequence: buffer.sequence.get(),
        flags: buffer.flags.get(),
        bytesused: buffer.bytesused.get(),
        timestamp_us: seconds.saturating_mul(1_000_000).saturating_add(rest),
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn the_time_of_a_frame_is_in_microseconds() {
        let buffer = |sec: i64, usec: i64| Buffer {
            timestamp_sec: sec.into(),
            timestamp_usec: usec.into(),
            ..FromZeros::new_zeroed()
        };
        assert_eq!(returned(&buffer(7, 42)).timestamp_us, 7_000_042);
        assert_eq!(returned(&buffer(-1, -1)).timestamp_us, 0);
        assert_eq!(returned(&buffer(i64::MAX, 1)).timestamp_us, u64::MAX);
    }
}
