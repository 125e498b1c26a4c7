//! The hazard in a stream of a device of any driver.

use std::time::Duration;

use crate::agent::cell::evidence::Moment;
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Hazard, Point};

use super::Transfer;
use crate::guest::cell::{Stop, hazards};

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

    /// Lets the hazard happen; returns whether the stream goes on.
    pub(super) fn meet_hazard(&mut self) -> Result<bool, Stop> {
        let goes_on = self.cell.hazard.leaves_a_stream();
        let quiet = match goes_on {
            true => Duration::ZERO,
            false => quiet(self.device()?.frame_time()),
        };
        let held = match self.cell.hazard {
            Hazard::ForkChildWrites => self.buffers[0].held(),
            _ => None,
        };
        match self.cell.hazard {
            Hazard::None => return Ok(true),
            Hazard::Close => self.buffers[0].queue = None,
            Hazard::Streamoff => {
                self.writer
                    .must("VIDIOC_STREAMOFF", || self.device()?.stream_off())?;
                self.streams = false;
            }
            hazard => {
                let point = self.cell.point;
                let mut context = self.buffers[0].in_hazard(point);
                let run = || hazards::run(hazard, &mut context);
                self.writer.spend(Phase::Hazard, run)?;
            }
        }
        let is_in_place = match self.cell.hazard {
            Hazard::Mremap | Hazard::MprotectReadOnly => false,
            hazard => !hazard.replaces_memory(),
        };
        // After the DMA the frame was whole already.
        self.may_queue_again = is_in_place && self.cell.point == Point::BeforeDma;
        if held != self.buffers[0].held().filter(|_| held.is_some()) {
            // The memory is the child's as well, which has written to it.
            self.buffers[0].forget();
            self.may_queue_again = false;
        }
        match goes_on {
            true if self.cell.flow.is_capture() => {}
            true => self.buffers[0].tell_contents(Moment::AfterHazard),
            false => self
                .told()
                .for_each(|buffer| buffer.tell_contents(Moment::AfterHazard)),
        }
        self.look(Moment::AfterHazard)?;
        if !goes_on {
            self.writer
                .spend(Phase::Device, || std::thread::sleep(quiet));
            self.told()
                .for_each(|buffer| buffer.tell_contents(Moment::Dequeued));
        }
        Ok(goes_on)
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
