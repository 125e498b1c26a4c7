//! The transfer of a cell on a device of any driver, which holds nothing back.
//!
//! Before STREAMON the device has not begun, so a queued buffer is looked at then, and
//! a hazard before the DMA happens then. A hazard after it happens when the buffer is
//! done and not dequeued. Devices that stream with several buffers only get more of
//! them, in plain memory.
//!
//! | file | what is in it |
//! |---|---|
//! | `came` | what came with a buffer, and which of its frames is told |
//! | `taking` | takes the frames |
//! | `hazard` | the hazard, and what is looked at around it |

mod came;
mod hazard;
mod taking;

use std::io;
use std::sync::Mutex;
use std::time::Instant;

use crate::agent::cell::answer::FURTHER_MAX;
use crate::agent::cell::evidence::{Evidence, HOLD, Moment};
use crate::agent::cell::{Cell, Flow, Given, Hazard, Kind, Point, Subject};
use crate::card::BufferType;
use crate::wire::buffer::MEMORY_USERPTR;

use super::buffer::{self, CellBuffer};
use super::contention::{self, ContendedBuffer};
use super::device::{Device, Memory};
use super::evidence_writer::EvidenceWriter;
use super::memory::layout::Want;
use super::patience::{self, FRAME_LIMIT};
use super::span::MemoryAccess;
use super::touched::Frames;
use super::{Stop, mappings, memory};
use came::Came;

/// Least number of buffers: with one only, many a device has none to write to while the
/// process has it.
const BUFFERS_MIN: usize = 2;

/// Says why no cell like this one runs on a device of any driver.
pub fn check(cell: &Cell) -> Result<(), Stop> {
    let why = match (cell.flow, cell.hazard) {
        (Flow::M2m(_), _) => "of a mem-to-mem device of any driver there are no cells yet",
        (_, Hazard::FailNth) => "failures are injected into Pinhole's own driver only",
        (_, Hazard::QueuedTwice) => "the device's further buffers have memory of their own",
        _ if cell.kind.given() == Given::Dmabuf => "such a device is given user pointers only",
        _ if memory::is_of_the_device(cell.kind, &cell.device) => {
            "the memory is the device's own, which then has none of the process's"
        }
        _ => return Ok(()),
    };
    Err(Stop::Impossible(why.into()))
}

/// The transfer of a cell whose first buffer's memory is laid out.
pub struct Transfer<'a> {
    cell: &'a Cell,
    subject: &'a Subject,
    writer: &'a EvidenceWriter,
    access: &'a MemoryAccess,
    /// The buffers, by their index. The first has the cell's kind of memory, and the
    /// queue of all.
    buffers: Vec<CellBuffer<'a>>,
    /// What came with each buffer.
    came: Vec<Came>,
    /// Whether the first buffer may be queued again for a whole frame: nothing has
    /// happened to its memory after which the device would have other memory then.
    may_queue_again: bool,
    /// Whether the stream is on.
    streams: bool,
}

impl<'a> Transfer<'a> {
    /// Returns the transfer of a cell with that first buffer; lays out the others.
    pub fn new(
        (cell, subject): (&'a Cell, &'a Subject),
        writer: &'a EvidenceWriter,
        access: &'a MemoryAccess,
        first: CellBuffer<'a>,
        want: Want,
    ) -> Result<Self, Stop> {
        let want = Want {
            offset: 0,
            roomy: false,
            ..want
        };
        let end = first.end;
        let mut buffers = vec![first];
        let least = match cell.hazard {
            Hazard::MmapContention => contention::BUFFERS,
            _ => BUFFERS_MIN,
        };
        for number in 1..least.max(subject.buffers as usize) {
            let layout = memory::lay_out(Kind::AnonTouched, want, access)?;
            let buffer = CellBuffer::new(number, end, layout, writer, access)?;
            buffers.push(buffer);
        }
        Ok(Self {
            cell,
            subject,
            writer,
            access,
            came: vec![Came::default(); buffers.len()],
            buffers,
            may_queue_again: true,
            streams: false,
        })
    }

    /// Opens the device, transfers, and frees the buffers.
    pub fn run(&mut self) -> Result<(), Stop> {
        for buffer in &self.buffers[1..] {
            if buffer.is_told() {
                buffer.tell_memory(self.subject.width, self.subject.height);
            }
        }
        self.look(Moment::LaidOut)?;
        self.open()?;
        match self.cell.hazard {
            Hazard::MmapContention => self.contend()?,
            _ => self.stream()?,
        }
        for buffer in self.told() {
            buffer.tell_canaries();
        }
        self.tell_errors();
        self.stop();
        self.look(Moment::Stopped)
    }

    /// Ends the stream, and frees the buffers.
    fn stop(&self) {
        let Some(device) = &self.buffers[0].queue else {
            return;
        };
        // Some devices do not release a failed stream.
        let off = || device.stream_off();
        let free = || device.request_buffers(0, MEMORY_USERPTR).map(drop);
        let mut failed = Vec::new();
        if let Err(error) = self.writer.call("VIDIOC_STREAMOFF", off) {
            failed.push(format!("VIDIOC_STREAMOFF at the end: {error}"));
        }
        if let Err(error) = self.writer.call("VIDIOC_REQBUFS", free) {
            failed.push(format!("VIDIOC_REQBUFS of no buffers: {error}"));
        }
        // Of a stream that is not on nothing is promised.
        if self.streams && !failed.is_empty() {
            self.fail(failed.join("; "));
        }
    }

    /// Notes how many frames in error were let pass.
    fn tell_errors(&self) {
        let errors: usize = self.came.iter().map(|came| came.errors).sum();
        if errors > 0 {
            self.writer.note(format!(
                "{errors} frames came in error before the buffers' first whole ones"
            ));
        }
    }

    /// Opens the device, and makes its buffers.
    fn open(&mut self) -> Result<(), Stop> {
        let type_ = BufferType {
            direction: self.cell.flow.subject(),
            api: self.subject.api,
        };
        let device = self
            .writer
            .must("open", || Device::open_for(&self.cell.device, type_))?;
        let format = self
            .writer
            .must("VIDIOC_S_FMT", || device.set_subject(self.subject))?;
        if format.sizeimage.get() != self.subject.sizeimage {
            return Err(Stop::Failed(format!(
                "the device makes frames of {} bytes now, not of {}",
                format.sizeimage.get(),
                self.subject.sizeimage
            )));
        }
        let wanted = self.buffers.len() as u32;
        let request = || device.request_buffers(wanted, MEMORY_USERPTR);
        let made = self.writer.must("VIDIOC_REQBUFS", request)?;
        if made < wanted {
            return Err(Stop::Failed(format!(
                "the device makes {made} buffers, {wanted} were asked for"
            )));
        }
        self.buffers[0].queue = Some(device);
        Ok(())
    }

    /// Runs the stream from the first QBUF to the frame, and a little on.
    fn stream(&mut self) -> Result<(), Stop> {
        let frames = Frames::of(self.subject);
        for buffer in &mut self.buffers {
            buffer.tell_sent();
            // What happens happens to the first.
            if !(buffer.is_first() && self.cell.hazard.replaces_memory()) {
                buffer.remember(frames);
            }
        }
        // A refusal may be the expected result.
        if self.queue(0).is_err() {
            return Ok(());
        }
        // Nothing comes back before the stream is on.
        let _ = self.writer.call(HOLD, || Ok(()));
        self.look(Moment::Queued)?;
        if self.cell.hazard == Hazard::None
            && let Some(seen) = mappings::look(&self.cell.device, Moment::Queued)
        {
            self.writer.write(&Evidence::Mappings(seen));
        }
        if self.cell.point == Point::BeforeDma && !self.meet_hazard()? {
            return Ok(());
        }
        for index in 1..self.buffers.len() {
            self.queue(index)
                .map_err(|error| Stop::Failed(format!("VIDIOC_QBUF of buffer {index}: {error}")))?;
        }
        let on = || self.device()?.stream_on();
        if let Err(error) = self.writer.call("VIDIOC_STREAMON", on) {
            return self.give_up(format!("VIDIOC_STREAMON: {error}"));
        }
        self.streams = true;
        let deadline = Instant::now() + patience::of(FRAME_LIMIT);
        if self.cell.point == Point::AfterDma {
            if let Err(error) = self.wait_for_whole(deadline)? {
                return self.give_up(format!("no frame came: {error}"));
            }
            if !self.meet_hazard()? {
                return Ok(());
            }
        }
        if !self.take_first(deadline)? {
            return Ok(());
        }
        self.look(Moment::Dequeued)?;
        if self.cell.hazard == Hazard::None {
            self.take_more(deadline)?;
        }
        Ok(())
    }

    /// Tells of a failure after which the rest of the cell is run all the same.
    fn fail(&self, why: String) {
        self.writer.write(&Evidence::Failed(why));
    }

    /// Captures into all buffers, or sends them, while the address space changes.
    fn contend(&mut self) -> Result<(), Stop> {
        let direction = self.cell.flow.subject();
        let of_it = |buffer: &CellBuffer<'_>| ContendedBuffer {
            span: buffer.layout.buffer,
            sent: Mutex::new(buffer.layout.sent(direction, self.access)),
        };
        let buffers: Vec<_> = self.buffers.iter().map(of_it).collect();
        let device = self.device()?;
        let all_queued = || {
            // Nothing comes back before the stream is on.
            self.writer.call(HOLD, || Ok(()))?;
            contention::tell_queued(self.writer, &buffers)?;
            let on = || device.stream_on();
            self.writer.call("VIDIOC_STREAMON", on)
        };
        let captured = contention::transfer(device, self.writer, &buffers, all_queued);
        self.streams = captured.is_ok();
        self.look(Moment::Dequeued)?;
        captured.map_err(|error| Stop::Failed(format!("while two threads queue: {error}")))
    }

    fn queue(&self, index: usize) -> io::Result<()> {
        let memory = Memory::User(self.buffers[index].layout.buffer);
        let queue = || self.device()?.queue(index as u32, memory);
        self.writer.call("VIDIOC_QBUF", queue)
    }

    fn device(&self) -> io::Result<&Device> {
        let closed = || io::Error::from_raw_os_error(libc::EBADF);
        self.buffers[0].queue.as_ref().ok_or_else(closed)
    }

    /// Returns the buffers of which evidence is written.
    fn told(&self) -> impl Iterator<Item = &CellBuffer<'a>> {
        self.buffers.iter().filter(|buffer| buffer.is_told())
    }

    /// Looks at the counters, and at the pages of every buffer; when one is queued, at
    /// those of the first, which is the only one then.
    fn look(&self, moment: Moment) -> Result<(), Stop> {
        let buffers = match moment {
            Moment::Queued => 1,
            _ => 1 + FURTHER_MAX,
        };
        buffer::look(self.writer, self.told().take(buffers), moment)
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::Ends;

    use super::*;

    #[test]
    fn a_cell_without_sense_is_impossible() {
        let refused = |cell: Cell| matches!(check(&cell), Err(Stop::Impossible(_)));
        let plain = || Cell::new(Kind::AnonTouched);
        assert!(!refused(plain()));
        assert!(!refused(Cell {
            flow: Flow::Output,
            hazard: Hazard::Sigkill,
            ..plain()
        }));
        assert!(!refused(Cell::new(Kind::Vb2Mmap)));
        assert!(refused(Cell {
            flow: Flow::M2m(Ends::Read),
            ..plain()
        }));
        for hazard in [Hazard::FailNth, Hazard::QueuedTwice] {
            assert!(refused(Cell { hazard, ..plain() }), "{hazard}");
        }
        assert!(refused(Cell::new(Kind::DmabufVivid)));
    }
}
