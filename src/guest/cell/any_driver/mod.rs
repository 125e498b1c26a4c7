//! The transfer of a cell on a device of any driver, which holds nothing back.
//!
//! Before STREAMON the device has not begun, so a queued buffer is looked at then, and
//! a hazard before the DMA happens then. A hazard after it happens when the buffer is
//! done and not dequeued. A mem-to-mem device has a queue for the frames that it reads
//! and one for those that it makes, and begins when both are on. Devices that stream
//! with several buffers only get more of them, in plain memory.
//!
//! | file | what is in it |
//! |---|---|
//! | `came` | what came with a buffer, and which of its frames is told |
//! | `queue` | a queue of the device, and its buffers |
//! | `taking` | takes the frames |
//! | `hazard` | the hazard, and what is looked at around it |

mod came;
mod hazard;
mod queue;
mod taking;

use std::cell::Cell as Counter;
use std::io;
use std::time::{Duration, Instant};

use crate::agent::cell::answer::FURTHER_MAX;
use crate::agent::cell::evidence::{Evidence, HOLD, Moment};
use crate::agent::cell::{Cell, End, Ends, Flow, Given, Hazard, Kind, Point, Subject};
use crate::card::{BufferType, CardKind, Direction};
use crate::wire::buffer::MEMORY_USERPTR;

use super::buffer::{self, CellBuffer};
use super::conversion::Conversion;
use super::device::{Device, Memory};
use super::evidence_writer::EvidenceWriter;
use super::memory::layout::Want;
use super::patience::{self, FRAME_LIMIT};
use super::span::MemoryAccess;
use super::touched::Frames;
use super::{Stop, mappings, memory};
use came::Came;
use queue::Queue;

/// Says why no cell like this one runs on a device of any driver.
pub fn check(cell: &Cell) -> Result<(), Stop> {
    let why = match cell.hazard {
        _ if cell.schedule.is_some() => "only Pinhole's card holds back its steps",
        Hazard::FailNth => "failures are injected into Pinhole's own driver only",
        Hazard::MmapContention => "it is for Pinhole's own card",
        Hazard::QueuedTwice => "the device's further buffers have memory of their own",
        _ if cell.kind.given() == Given::Dmabuf => "such a device is given user pointers only",
        _ if memory::is_of_the_device(cell.kind, &cell.device) => {
            "the memory is the device's own, which then has none of the process's"
        }
        _ => return Ok(()),
    };
    Err(Stop::Impossible(why.into()))
}

/// The transfer of a cell the memory of whose ends is laid out.
pub struct Transfer<'a> {
    cell: &'a Cell,
    subject: &'a Subject,
    writer: &'a EvidenceWriter,
    access: &'a MemoryAccess,
    /// The queues of the cell's ends, in their order. The hazard is to the first.
    queues: Vec<Queue>,
    /// The buffers, by their number: the first of each queue, which are the cell's ends,
    /// then the others. The first of all has the cell's kind of memory.
    buffers: Vec<CellBuffer<'a>>,
    /// What came with each buffer.
    came: Vec<Came>,
    /// Number of frames that were given to a mem-to-mem device.
    given: Counter<u32>,
    /// Whether the first buffer may be queued again for a whole frame: nothing has
    /// happened to its memory after which the device would have other memory then.
    may_queue_again: bool,
}

impl<'a> Transfer<'a> {
    /// Returns the transfer of a cell with those buffers at its ends; lays out the others.
    pub fn new(
        (cell, subject): (&'a Cell, &'a Subject),
        writer: &'a EvidenceWriter,
        access: &'a MemoryAccess,
        ends: Vec<CellBuffer<'a>>,
    ) -> Result<Self, Stop> {
        let mut buffers = ends;
        let of_end = |(number, buffer): (usize, &CellBuffer<'_>)| Queue::of(buffer.end, number);
        let mut queues: Vec<_> = buffers.iter().enumerate().map(of_end).collect();
        for queue in &mut queues {
            let of_it = subject.of(queue.end.direction);
            let want = Want {
                offset: 0,
                length: of_it.sizeimage as usize,
                roomy: false,
                direction: queue.end.direction,
            };
            for _ in 1..queue::least(cell).max(of_it.buffers as usize) {
                let layout = memory::lay_out(Kind::AnonTouched, want, access)?;
                let number = buffers.len();
                buffers.push(CellBuffer::new(number, queue.end, layout, writer, access)?);
                queue.buffers.push(number);
            }
        }
        // What is made over the frame itself may be something else.
        let is_apart = cell.flow != Flow::M2m(Ends::InPlace);
        if is_apart && subject.made.as_ref().is_some_and(|made| made.repeats) {
            let is_read = |buffer: &&mut CellBuffer<'_>| buffer.end.direction == Direction::Output;
            for buffer in buffers[..queues.len()].iter_mut().filter(is_read) {
                buffer.conversion = Some(Conversion::new(&cell.device, subject));
            }
        }
        Ok(Self {
            cell,
            subject,
            writer,
            access,
            came: vec![Came::default(); buffers.len()],
            queues,
            buffers,
            given: Counter::new(0),
            may_queue_again: true,
        })
    }

    /// Opens the device, transfers, and frees the buffers.
    pub fn run(&mut self) -> Result<(), Stop> {
        for buffer in &self.buffers[self.queues.len()..] {
            if buffer.is_told() {
                let Subject { width, height, .. } = self.subject.of(buffer.end.direction);
                buffer.tell_memory(*width, *height);
            }
        }
        self.look(Moment::LaidOut)?;
        self.open()?;
        self.stream()?;
        for buffer in self.told() {
            buffer.tell_canaries();
        }
        self.tell_errors();
        self.stop();
        self.look(Moment::Stopped)
    }

    /// Ends the streams, and frees the buffers.
    fn stop(&self) {
        let mut failed = Vec::new();
        for (number, queue) in self.queues.iter().enumerate() {
            let Some(device) = &queue.device else {
                continue;
            };
            // Some devices do not release a failed stream.
            let off = || device.stream_off();
            let off = self.writer.call_on(number, "VIDIOC_STREAMOFF", off);
            // Of a stream that is not on nothing is promised.
            if let Err(error) = off
                && queue.streams
            {
                failed.push(format!("VIDIOC_STREAMOFF at the end: {error}"));
            }
        }
        for (number, queue) in self.queues.iter().enumerate() {
            let Some(device) = &queue.device else {
                continue;
            };
            let free = || device.request_buffers(0, MEMORY_USERPTR).map(drop);
            let free = self.writer.call_on(number, "VIDIOC_REQBUFS", free);
            if let Err(error) = free
                && queue.streams
            {
                failed.push(format!("VIDIOC_REQBUFS of no buffers: {error}"));
            }
        }
        if !failed.is_empty() {
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

    /// Opens the device, once for each file, and makes its buffers.
    fn open(&mut self) -> Result<(), Stop> {
        for file in 0..2 {
            let mut of_file = self.queues.iter_mut().filter(|one| one.end.file == file);
            let Some(first) = of_file.next() else {
                break;
            };
            let type_ = BufferType {
                direction: first.end.direction,
                api: self.subject.api,
            };
            let open = || Device::open_for(&self.cell.device, type_);
            let device = self.writer.must("open", open)?;
            for other in of_file {
                other.device = Some(device.queue_of(other.end.direction)?);
            }
            first.device = Some(device);
        }
        self.set_formats()?;
        for (number, queue) in self.queues.iter().enumerate() {
            let wanted = queue.buffers.len() as u32;
            let request = || queue.device()?.request_buffers(wanted, MEMORY_USERPTR);
            let made = self.writer.call_on(number, "VIDIOC_REQBUFS", request);
            let made = made.map_err(|error| Stop::Failed(format!("VIDIOC_REQBUFS: {error}")))?;
            if made < wanted {
                return Err(Stop::Failed(format!(
                    "the device makes {made} buffers, {wanted} were asked for"
                )));
            }
        }
        Ok(())
    }

    /// Sets the formats; that of what is read first, as it may set the other.
    fn set_formats(&self) -> Result<(), Stop> {
        let of = |direction| {
            let queues = self.queues.iter();
            queues.filter(move |one| one.end.direction == direction)
        };
        let check = |sizeimage: u32, direction| match self.subject.of(direction).sizeimage {
            wanted if wanted == sizeimage => Ok(()),
            wanted => Err(Stop::Failed(format!(
                "the device makes frames of {sizeimage} bytes now, not of {wanted}"
            ))),
        };
        for direction in [Direction::Output, Direction::Capture] {
            for queue in of(direction) {
                let set = || queue.device()?.set_subject(self.subject.of(direction));
                let format = self.writer.must("VIDIOC_S_FMT", set)?;
                check(format.sizeimage.get(), direction)?;
            }
        }
        if self.cell.flow.card() == CardKind::M2m {
            for queue in of(Direction::Output) {
                // What is made may have set what is read.
                let format = self
                    .writer
                    .must("VIDIOC_G_FMT", || queue.device()?.get_format())?;
                check(format.sizeimage.get(), Direction::Output)?;
            }
        }
        Ok(())
    }

    /// Runs the stream from the first QBUF to the frame, and a little on.
    fn stream(&mut self) -> Result<(), Stop> {
        for buffer in &mut self.buffers {
            buffer.tell_sent();
            // What happens happens to the first.
            if !(buffer.is_first() && self.cell.hazard.replaces_memory()) {
                buffer.remember(Frames::of(self.subject.of(buffer.end.direction)));
            }
        }
        let mut left: Vec<usize> = (0..self.queues.len()).collect();
        for queue in &left {
            let is_queued = match self.cell.point {
                Point::DuringPin if *queue == 0 => self.queue_halted()?,
                _ => self.queue(*queue, 0).is_ok(),
            };
            // A refusal may be the expected result.
            if !is_queued {
                return Ok(());
            }
        }
        // Nothing comes back before the stream is on.
        let _ = self.writer.call(HOLD, || Ok(()));
        self.look(Moment::Queued)?;
        if self.cell.hazard == Hazard::None
            && let Some(seen) = mappings::look(&self.cell.device, Moment::Queued)
        {
            self.writer.write(&Evidence::Mappings(seen));
        }
        if self.cell.point == Point::BeforeDma {
            self.meet_hazard()?;
            left.retain(|queue| self.goes_on(self.queues[*queue].end));
        }
        for &queue in &left {
            for index in 1..self.queues[queue].buffers.len() {
                self.queue(queue, index).map_err(|error| {
                    Stop::Failed(format!("VIDIOC_QBUF of buffer {index}: {error}"))
                })?;
            }
        }
        for &queue in &left {
            let on = || self.queues[queue].device()?.stream_on();
            if let Err(error) = self.writer.call_on(queue, "VIDIOC_STREAMON", on) {
                return self.give_up(format!("VIDIOC_STREAMON: {error}"));
            }
            self.queues[queue].streams = true;
        }
        let deadline = Instant::now() + patience::of(FRAME_LIMIT);
        if self.cell.point == Point::AfterDma {
            if let Err(error) = self.wait_for_whole(deadline)? {
                return self.give_up(format!("no frame came: {error}"));
            }
            self.meet_hazard()?;
            left.retain(|queue| self.goes_on(self.queues[*queue].end));
        }
        if left.is_empty() {
            return Ok(());
        }
        for queue in left {
            if !self.take_first(queue, deadline)? {
                return Ok(());
            }
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

    /// Queues the buffer of that index in a queue. A frame for a mem-to-mem device has a
    /// time of its own.
    fn queue(&self, number: usize, index: usize) -> io::Result<()> {
        let queue = &self.queues[number];
        let memory = Memory::User(self.buffers[queue.buffers[index]].layout.buffer);
        let time = match self.cell.flow.card() {
            CardKind::M2m => {
                self.given.set(self.given.get().wrapping_add(1));
                Duration::from_millis(1000 + u64::from(self.given.get()))
            }
            CardKind::Capture | CardKind::Output => Duration::ZERO,
        };
        let call = || queue.device()?.queue_at(index as u32, memory, time);
        self.writer.call_on(number, "VIDIOC_QBUF", call)
    }

    /// Returns whether the stream of an end goes on after the hazard, which is to the first
    /// file.
    fn goes_on(&self, end: End) -> bool {
        self.cell.hazard.leaves_a_stream() || end.file > 0
    }

    /// Returns the buffers of which evidence is written.
    fn told(&self) -> impl Iterator<Item = &CellBuffer<'a>> {
        self.buffers.iter().filter(|buffer| buffer.is_told())
    }

    /// Looks at the counters, and at the pages of every buffer; when they are queued, at
    /// those of the cell's ends, which alone are then.
    fn look(&self, moment: Moment) -> Result<(), Stop> {
        let buffers = match moment {
            Moment::Queued => self.queues.len(),
            _ => 1 + FURTHER_MAX,
        };
        buffer::look(self.writer, self.told().take(buffers), moment)
    }
}

#[cfg(test)]
mod tests {
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
        assert!(!refused(Cell {
            flow: Flow::M2m(Ends::Read),
            ..plain()
        }));
        for hazard in [Hazard::FailNth, Hazard::QueuedTwice] {
            assert!(refused(Cell { hazard, ..plain() }), "{hazard}");
        }
        assert!(refused(Cell::new(Kind::DmabufVivid)));
    }
}
