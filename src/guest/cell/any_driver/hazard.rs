//! The hazard in a stream of a device of any driver.

use std::time::Duration;

use crate::agent::cell::evidence::Moment;
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Hazard, Point};
use crate::card::Direction;

use super::Transfer;
use crate::guest::cell::buffer::CellBuffer;
use crate::guest::cell::{Stop, halted_pin, hazards};

/// How long the process waits at least for forbidden writes of the device, and at most:
/// two frames usually come meanwhile.
const QUIET: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(200)];

impl Transfer<'_> {
    /// Ends the transfer of a stream that does not flow. A hazard that ends the stream
    /// cannot come any more then, which is a failure; any other is told of as far as it
    /// came.
    pub(super) fn give_up(&self, why: String) -> Result<(), Stop> {
        let waits = self.cell.point == Point::AfterDma;
        match waits && !self.cell.hazard.leaves_a_stream() {
            true => Err(Stop::Failed(format!("{why}; the hazard did not happen"))),
            false => Ok(()),
        }
    }

    /// Queues the first buffer, with the hazard in the middle of the pin. Returns whether it
    /// is queued.
    pub(super) fn queue_halted(&mut self) -> Result<bool, Stop> {
        let (cell, writer) = (self.cell, self.writer);
        let device = self.queues[0].device()?;
        let buffer = &mut self.buffers[0];
        let memory = buffer.layout.memory();
        let qbuf = || writer.call("VIDIOC_QBUF", || device.queue(0, memory));
        let queued = halted_pin::queue(buffer, cell, writer, self.access, qbuf);
        self.may_queue_again = self.is_in_place();
        queued
    }

    /// Returns whether the hazard leaves the memory where it was, and what it was.
    fn is_in_place(&self) -> bool {
        match self.cell.hazard {
            Hazard::Mremap | Hazard::MprotectReadOnly => false,
            hazard => !hazard.replaces_memory(),
        }
    }

    /// Lets the hazard happen.
    pub(super) fn meet_hazard(&mut self) -> Result<(), Stop> {
        let quiet = match self.cell.hazard.leaves_a_stream() {
            true => Duration::ZERO,
            false => quiet(self.queues[0].device()?.frame_time()),
        };
        let held = match self.cell.hazard {
            Hazard::ForkChildWrites => self.buffers[0].held(),
            _ => None,
        };
        match self.cell.hazard {
            Hazard::None => return Ok(()),
            Hazard::Close => {
                for queue in self.queues.iter_mut().filter(|one| one.end.file == 0) {
                    queue.device = None;
                }
            }
            Hazard::Streamoff => {
                let off = || self.queues[0].device()?.stream_off();
                self.writer.must("VIDIOC_STREAMOFF", off)?;
                self.queues[0].streams = false;
            }
            hazard => {
                let point = self.cell.point;
                let mut context = self.buffers[0].in_hazard(point);
                let run = || hazards::run(hazard, &mut context);
                self.writer.spend(Phase::Hazard, run)?;
            }
        }
        // After the DMA the frame was whole already.
        self.may_queue_again = self.is_in_place() && self.cell.point == Point::BeforeDma;
        if held != self.buffers[0].held().filter(|_| held.is_some()) {
            // The memory is the child's as well, which has written to it.
            self.buffers[0].forget();
            self.may_queue_again = false;
        }
        let ends = self.queues.len();
        let has_ended = |buffer: &CellBuffer<'_>| !self.goes_on(buffer.end);
        let is_read = |buffer: &CellBuffer<'_>| buffer.end.direction == Direction::Output;
        for (number, buffer) in self.told().enumerate() {
            // A buffer that is written to is the device's.
            if has_ended(buffer) || (number < ends && is_read(buffer)) {
                buffer.tell_contents(Moment::AfterHazard);
            }
        }
        self.look(Moment::AfterHazard)?;
        if quiet > Duration::ZERO {
            self.writer
                .spend(Phase::Device, || std::thread::sleep(quiet));
            for buffer in self.told().filter(|buffer| has_ended(buffer)) {
                buffer.tell_contents(Moment::Dequeued);
            }
        }
        Ok(())
    }
}

/// Returns how long the process waits for forbidden writes of a device, whose frames
/// take that long.
fn quiet(frame_time: Option<Duration>) -> Duration {
    let [least, most] = QUIET;
    frame_time.map_or(most, |frame| frame.saturating_mul(2).clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_frames_would_come_in_a_quiet_time() {
        let of = |milliseconds| quiet(Some(Duration::from_millis(milliseconds)));
        assert_eq!(of(40), Duration::from_millis(80));
        assert_eq!(
            [of(1), of(1000), quiet(None)],
            [QUIET[0], QUIET[1], QUIET[1]]
        );
        assert_eq!(quiet(Some(Duration::MAX)), QUIET[1]);
    }
}
