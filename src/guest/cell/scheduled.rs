//! The transfer of two buffers of one queue, step by step, in the order of a schedule.
//!
//! The card holds back all frames and all events, and lets one of them pass when its
//! step has come. Every step is waited for by what tells that it was made: a frame to
//! pass that is passed, a buffer that the driver says is done. So a step that was not
//! made is seen, and the cell ends there rather than in another order.

use std::io;

use crate::agent::cell::evidence::{Evidence, HOLD, Moment, StepSeen};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::schedule::{Act, Step};
use crate::agent::cell::{Hazard, Point, Schedule};
use crate::card::Direction;
use crate::card::controls::table::cid;
use crate::wire::buffer::BUF_FLAG_DONE;

use super::buffer::CellBuffer;
use super::device::Device;
use super::evidence_writer::EvidenceWriter;
use super::patience::{self, FRAME_LIMIT};
use super::{Stop, hazards, pagemap};

/// Runs the steps of `schedule` on the two buffers, the first of which has the queue,
/// whose buffers are requested. The stream is on afterwards.
pub fn run(
    schedule: Schedule,
    hazard: Hazard,
    writer: &EvidenceWriter,
    buffers: &mut [CellBuffer<'_>],
) -> Result<(), Stop> {
    for buffer in &mut *buffers {
        buffer.tell_sent();
    }
    let holds = Holds::of(queue_of(buffers)?).map_err(cannot)?;
    let mut transfer = Scheduled {
        schedule,
        hazard,
        writer,
        buffers,
        holds,
    };
    let begun = transfer.hold();
    let made = begun.and_then(|()| transfer.follow());
    // The card must not hold back what others want of it.
    let released = transfer.release();
    made.and(released)
}

/// Returns the queue of both buffers.
fn queue_of<'a>(buffers: &'a [CellBuffer<'_>]) -> io::Result<&'a Device> {
    let queue = buffers.first().and_then(|first| first.queue.as_ref());
    queue.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
}

fn cannot(error: io::Error) -> Stop {
    Stop::Impossible(format!("the card cannot let one step pass: {error}"))
}

/// The ids of the controls by which the card holds back what it does, and lets some of
/// it pass.
struct Holds {
    frames: u32,
    events: u32,
    frames_to_pass: u32,
    events_to_pass: u32,
}

impl Holds {
    fn of(device: &Device) -> io::Result<Self> {
        Ok(Self {
            frames: device.control(cid::HOLD_FRAMES, "Hold Frames")?,
            events: device.control(cid::HOLD_EVENTS, "Hold Events")?,
            frames_to_pass: device.control(cid::FRAMES_TO_PASS, "Frames to Pass")?,
            events_to_pass: device.control(cid::EVENTS_TO_PASS, "Events to Pass")?,
        })
    }
}

/// A transfer of two buffers.
struct Scheduled<'a, 'b> {
    schedule: Schedule,
    hazard: Hazard,
    writer: &'a EvidenceWriter,
    buffers: &'a mut [CellBuffer<'b>],
    holds: Holds,
}

impl Scheduled<'_, '_> {
    fn hold(&self) -> Result<(), Stop> {
        let device = queue_of(self.buffers)?;
        for hold in [self.holds.frames, self.holds.events] {
            let set = || device.set_control(hold, 1);
            self.writer.call(HOLD, set).map_err(cannot)?;
        }
        Ok(())
    }

    fn release(&self) -> Result<(), Stop> {
        let device = queue_of(self.buffers)?;
        for hold in [self.holds.frames, self.holds.events] {
            let set = || device.set_control(hold, 0);
            self.writer.must("release", set)?;
        }
        Ok(())
    }

    /// Makes the steps in their order, until the memory is refused, which may be what is
    /// expected.
    fn follow(&mut self) -> Result<(), Stop> {
        let device = queue_of(self.buffers)?;
        self.writer.must("VIDIOC_STREAMON", || device.stream_on())?;
        for step in self.schedule.course() {
            match step {
                Some(Step {
                    buffer: 0,
                    act: Act::Queue,
                }) => {
                    if self.queue(0).is_err() {
                        return Ok(());
                    }
                    self.tell_pages(0)?;
                }
                Some(step) => self.make(step).map_err(|error| {
                    let schedule = self.schedule;
                    Stop::Failed(format!("{step} of {schedule} could not be made: {error}"))
                })?,
                None => self.run_hazard()?,
            }
            self.tell(step)?;
        }
        Ok(())
    }

    /// Makes a step, and waits until it is made.
    fn make(&self, Step { buffer, act }: Step) -> io::Result<()> {
        let device = queue_of(self.buffers)?;
        let limit = patience::of(FRAME_LIMIT);
        let pass = |control| device.set_control(control, 1);
        match act {
            Act::Queue => {
                self.queue(buffer)?;
                self.tell_pages(buffer)
            }
            Act::Dma => {
                let control = self.holds.frames_to_pass;
                self.writer.call("a frame passes", || {
                    pass(control)?;
                    patience::wait_until(limit, || Ok(device.get_control(control)? == 0))
                })?;
                // The card has read the buffer, and has not changed it.
                let is_read = self.buffers[buffer].end.direction == Direction::Output;
                if is_read && !(buffer == 0 && self.schedule.point() == Some(Point::BeforeDma)) {
                    self.buffers[buffer].tell_contents(Moment::Queued);
                }
                Ok(())
            }
            Act::Done => self.writer.call("an event passes", || {
                pass(self.holds.events_to_pass)?;
                let is_done = || Ok(self.flags_of(buffer)? & BUF_FLAG_DONE != 0);
                patience::wait_until(limit, is_done)
            }),
            Act::Dequeue => {
                let memory = self.buffers[buffer].memory_type();
                let dequeue = || device.dequeue(memory);
                let frame = self.writer.call("VIDIOC_DQBUF", dequeue)?;
                let index = frame.index.get() as usize;
                if index != buffer {
                    return Err(io::Error::other(format!("buffer {index} came back")));
                }
                self.buffers[buffer].tell_frame(&frame, 0, || Ok(()))
            }
        }
    }

    fn queue(&self, buffer: usize) -> io::Result<()> {
        let device = queue_of(self.buffers)?;
        let memory = self.buffers[buffer].layout.memory();
        let queue = || device.queue(buffer as u32, memory);
        self.writer.call("VIDIOC_QBUF", queue)
    }

    /// Looks at the pages of a buffer that was just queued, and is pinned.
    fn tell_pages(&self, buffer: usize) -> io::Result<()> {
        let look = || self.buffers[buffer].tell_pages(Moment::Queued);
        self.writer.spend(Phase::Pages, look)
    }

    /// Lets the hazard happen to the first buffer's memory. What the memory holds then is
    /// of interest as long as the process has not got the frame.
    fn run_hazard(&mut self) -> Result<(), Stop> {
        let (writer, hazard) = (self.writer, self.hazard);
        let point = self.schedule.point();
        let first = &mut self.buffers[0];
        let mut context = first.in_hazard(point.unwrap_or(Point::AfterDma));
        writer.spend(Phase::Hazard, || hazards::run(hazard, &mut context))?;
        if point.is_some() {
            if first.end.direction == Direction::Output {
                first.tell_contents(Moment::AfterHazard);
            }
            let look = || first.tell_pages(Moment::AfterHazard);
            writer.spend(Phase::Pages, look)?;
        }
        Ok(())
    }

    /// Writes what is seen right after a step.
    fn tell(&self, step: Option<Step>) -> Result<(), Stop> {
        let look = || pagemap::counters(Moment::Queued);
        let pinned = self.writer.spend(Phase::Pages, look)?.pinned();
        self.writer.write(&Evidence::Step(StepSeen {
            step,
            at_us: self.writer.elapsed().as_micros() as u64,
            flags: [self.flags_of(0)?, self.flags_of(1)?],
            pinned,
        }));
        Ok(())
    }

    fn flags_of(&self, buffer: usize) -> io::Result<u32> {
        let memory = self.buffers[buffer].memory_type();
        queue_of(self.buffers)?.flags(buffer as u32, memory)
    }
}
