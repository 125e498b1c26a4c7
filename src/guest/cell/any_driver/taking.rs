//! Takes the frames of a device of any driver, until the first buffer of each queue came
//! back with one that is whole, and some more.

use std::io;
use std::time::Instant;

use crate::agent::cell::evidence::{Evidence, ReturnSeen};
use crate::card::CardKind;
use crate::wire::buffer::{BUF_FLAG_DONE, BUF_FLAG_ERROR, Buffer, MEMORY_USERPTR};

use super::Transfer;
use super::came::ERRORS_MAX;
use crate::guest::cell::{Stop, patience};

/// Most buffers that come back before the first one does.
const RETURNS_MAX: usize = 64;

/// Number of frames that are dequeued after the first buffer's.
const MORE: usize = 3;

impl Transfer<'_> {
    /// Takes frames from a queue until its first buffer came back with one that is told;
    /// returns whether it did.
    pub(super) fn take_first(&mut self, queue: usize, deadline: Instant) -> Result<bool, Stop> {
        for _ in 0..RETURNS_MAX {
            let Some(index) = self.take_frame(queue, deadline)? else {
                return Ok(false);
            };
            if self.came[queue].frames > 0 {
                return Ok(true);
            }
            if !self.queue_again(queue, index) {
                return Ok(false);
            }
        }
        self.fail(format!(
            "the first buffer did not come back, {RETURNS_MAX} others did"
        ));
        Ok(false)
    }

    /// Takes a few frames more from every queue, with the first buffers as well, so that
    /// their order is seen.
    pub(super) fn take_more(&mut self, deadline: Instant) -> Result<(), Stop> {
        let mut indices = vec![0; self.queues.len()];
        for number in 1..=MORE {
            let mut queues = (0..).zip(&indices);
            if !queues.all(|(queue, index)| self.queue_again(queue, *index)) {
                break;
            }
            for (queue, index) in indices.iter_mut().enumerate() {
                *index = match self.take_frame(queue, deadline)? {
                    Some(next) => next,
                    None => {
                        self.fail(format!(
                            "frame {number} after the first buffer's did not come"
                        ));
                        return Ok(());
                    }
                };
            }
        }
        Ok(())
    }

    /// Queues a buffer that was dequeued; returns whether the device took it.
    fn queue_again(&self, queue: usize, index: usize) -> bool {
        let queued = self.queue(queue, index);
        if let Err(error) = &queued {
            self.fail(format!(
                "VIDIOC_QBUF of buffer {index}, which was queued before: {error}"
            ));
        }
        queued.is_ok()
    }

    /// Returns whether a frame in error may be one of a device that has not begun yet: a
    /// mem-to-mem device has all that it needs.
    fn may_begin_in_error(&self) -> bool {
        self.cell.flow.card() != CardKind::M2m
    }

    /// Waits until the first buffer of every queue is done; they stay with the driver. While
    /// the frame of the first is in error it is queued again.
    pub(super) fn wait_for_whole(&mut self, deadline: Instant) -> Result<io::Result<()>, Stop> {
        loop {
            let wait = || self.wait_for_first(0, deadline);
            let flags = match self.writer.call("poll for the frame", wait) {
                Ok(flags) => flags,
                Err(error) => return Ok(Err(error)),
            };
            let is_over = self.came[0].errors == ERRORS_MAX || !self.may_begin_in_error();
            if flags & BUF_FLAG_ERROR == 0 || is_over {
                break;
            }
            // Those that were done before it come back before it.
            for _ in 0..self.queues[0].buffers.len() {
                let Some(index) = self.take_frame(0, deadline)? else {
                    return Ok(Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)));
                };
                if !self.queue_again(0, index) {
                    return Ok(Err(io::Error::from_raw_os_error(libc::EIO)));
                }
                if index == 0 {
                    break;
                }
            }
        }
        for queue in 1..self.queues.len() {
            let wait = || self.wait_for_first(queue, deadline);
            if let Err(error) = self.writer.call_on(queue, "poll for the frame", wait) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Waits until the first buffer of a queue is done; returns its flags.
    fn wait_for_first(&self, queue: usize, deadline: Instant) -> io::Result<u32> {
        let device = self.queues[queue].device()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let mut flags = 0;
        patience::wait_until(left, || {
            flags = device.flags(0, MEMORY_USERPTR)?;
            Ok(flags & BUF_FLAG_DONE != 0)
        })?;
        Ok(flags)
    }

    /// Waits for a buffer of a queue, dequeues it and tells of it; returns its index, or
    /// nothing if none comes.
    fn take_frame(&mut self, queue: usize, deadline: Instant) -> Result<Option<usize>, Stop> {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = || self.queues[queue].device()?.wait(left);
        if self.writer.call_on(queue, "poll", wait).is_err() {
            return Ok(None);
        }
        let dequeue = || self.queues[queue].device()?.dequeue_whole(MEMORY_USERPTR);
        let Ok((frame, begins)) = self.writer.call_on(queue, "VIDIOC_DQBUF", dequeue) else {
            return Ok(None);
        };
        self.buffers[queue].write(Evidence::Return(returned(&frame)));
        let index = frame.index.get() as usize;
        let Some(&number) = self.queues[queue].buffers.get(index) else {
            return Err(Stop::Failed(format!(
                "the device gave back buffer {index}, of {}",
                self.queues[queue].buffers.len()
            )));
        };
        let may_pass = (index != 0 || self.may_queue_again)
            && self.may_begin_in_error()
            && Instant::now() < deadline;
        let is_first = self.came[number].count(frame.flags.get(), may_pass);
        let buffer = &self.buffers[number];
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
