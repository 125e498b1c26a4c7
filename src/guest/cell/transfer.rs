//! The transfer of a cell's frame on Pinhole's card, or of one in each direction, and
//! the hazard meanwhile.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::agent::cell::evidence::{DEAD_DQBUF, Evidence, HELD_POLL, Moment};
use crate::agent::cell::instruments::IdleMoment;
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Cell, FrameSize, Hazard, Point};
use crate::card::{CardKind, Direction};

use super::buffer::{self, CellBuffer};
use super::contention::ContendedBuffer;
use super::evidence_writer::EvidenceWriter;
use super::held::Held;
use super::idle::Idleness;
use super::memory::layout::Layout;
use super::patience::{self, FRAME_LIMIT};
use super::span::MemoryAccess;
use super::{Stop, contention, halted_pin, hazards, mappings, queues, scheduled};

/// How long the process waits for forbidden writes of the card.
const QUIET: Duration = Duration::from_millis(30);

/// The transfer of a cell whose memory is laid out.
pub struct Transfer<'a> {
    cell: &'a Cell,
    writer: &'a EvidenceWriter,
    access: &'a MemoryAccess,
    /// The buffers, as the cell's flow has them.
    pub buffers: Vec<CellBuffer<'a>>,
    /// Memory layouts of further buffers of the first one's queue.
    pub others: Vec<Layout>,
    /// Access to the idle state of pages; `None` if the kernel does not track it.
    idleness: Option<Idleness>,
    held: Held<'a>,
}

impl<'a> Transfer<'a> {
    /// Returns the transfer of a cell with those buffers.
    pub fn new(
        cell: &'a Cell,
        writer: &'a EvidenceWriter,
        access: &'a MemoryAccess,
        buffers: Vec<CellBuffer<'a>>,
    ) -> Self {
        let idleness = if is_read_meanwhile(cell) {
            None
        } else {
            Idleness::new()
        };
        Self {
            cell,
            writer,
            access,
            buffers,
            others: Vec::new(),
            idleness,
            held: Held::new(cell, writer),
        }
    }

    /// Opens the device, transfers, and frees the buffers.
    pub fn run(&mut self, size: FrameSize) -> Result<(), Stop> {
        let (cell, writer) = (self.cell, self.writer);
        queues::open(&cell.device, &mut self.buffers, writer)?;
        queues::set_formats(cell, size, &mut self.buffers, writer)?;
        let count = match (cell.schedule, cell.hazard) {
            (Some(_), _) => self.buffers.len() as u32,
            (None, Hazard::QueuedTwice) => 2,
            (None, _) => 1 + self.others.len() as u32,
        };
        queues::request(count, &self.buffers, writer)?;
        match cell.schedule {
            Some(schedule) => scheduled::run(schedule, cell.hazard, writer, &mut self.buffers)?,
            None => self.move_frame()?,
        }
        self.tell_canaries();
        queues::stop(&self.buffers, writer);
        self.look(Moment::Stopped)
    }

    /// Moves the frame of each buffer, with the hazard at its point.
    fn move_frame(&mut self) -> Result<(), Stop> {
        // The failures before must not have left anything behind.
        if self.cell.hazard != Hazard::FailNth {
            self.held.hold(&self.buffers)?;
        }
        match self.cell.hazard {
            Hazard::MmapContention => self.contend(),
            _ => self.stream(),
        }
    }

    /// Returns whether the hazard leaves it to the buffer's stream to end by itself.
    fn leaves(&self, buffer: &CellBuffer<'_>) -> bool {
        self.cell.hazard.leaves_a_stream() || buffer.end.file > 0
    }

    /// Runs the stream from QBUF to the frame.
    fn stream(&mut self) -> Result<(), Stop> {
        let writer = self.writer;
        for buffer in &mut self.buffers {
            buffer.tell_sent();
        }
        if self.held.is_after_dma() && self.cell.flow.turns_frames() {
            let is_its_own = |one: &CellBuffer<'_>| !one.sent.is_empty() && one.sent == one.made;
            if self.buffers.iter().any(is_its_own) {
                return Err(Stop::Impossible(
                    "the frame is the same upside down: nobody sees when the card has written it"
                        .into(),
                ));
            }
        }
        // A refusal may be the expected result.
        if !self.queue()? {
            return Ok(());
        }
        // The card does nothing until the stream is on. If the card holds the
        // frame back, the pages are marked idle after the hazard.
        if !self.held.is_before_dma() {
            self.mark_idle()?;
        }
        for queue in queues::all(&self.buffers) {
            let on = || queue.stream_on();
            if writer.call("VIDIOC_STREAMON", on).is_err() {
                return Ok(());
            }
        }
        if self.held.is_after_dma() {
            let wait = || self.wait_for_dma(patience::of(FRAME_LIMIT));
            writer.call("poll for the frame", wait).map_err(|error| {
                Stop::Failed(format!("the card does nothing with the frame: {error}"))
            })?;
            self.tell_idle(IdleMoment::Written)?;
            for buffer in &self.buffers {
                if buffer.end.direction == Direction::Output {
                    buffer.tell_contents(Moment::Queued);
                }
            }
        }
        self.look(Moment::Queued)?;
        if matches!(self.cell.hazard, Hazard::None | Hazard::FailNth) {
            self.tell_mappings();
        }
        if self.held.is_held() {
            self.run_hazard()?;
        }
        let deadline = Instant::now() + patience::of(FRAME_LIMIT);
        for buffer in self.buffers.iter().filter(|one| self.leaves(one)) {
            self.take_frame(buffer, deadline)?;
        }
        self.look(Moment::Dequeued)
    }

    /// Queues every buffer. Returns whether that was accepted.
    fn queue(&mut self) -> Result<bool, Stop> {
        if self.cell.point == Point::DuringPin {
            return self.queue_halted();
        }
        for (buffer, queue) in queues::with_queues(&self.buffers) {
            let queue = || queue.queue(0, buffer.layout.memory());
            if self.writer.call("VIDIOC_QBUF", queue).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Queues the first buffer, with the hazard in the middle of the pin.
    fn queue_halted(&mut self) -> Result<bool, Stop> {
        let (cell, writer) = (self.cell, self.writer);
        let buffer = &mut self.buffers[0];
        let memory = buffer.layout.memory();
        let Some(device) = buffer.queue.take() else {
            return Ok(false);
        };
        let qbuf = || writer.call("VIDIOC_QBUF", || device.queue(0, memory));
        let queued = halted_pin::queue(buffer, cell, writer, self.access, qbuf);
        buffer.queue = Some(device);
        queued
    }

    /// Waits until the card has moved every frame. It holds back what it says of
    /// that, but for the beginning of a frame; of a frame that is made of another the
    /// process sees that it is there, as it knows what it must be.
    fn wait_for_dma(&self, limit: Duration) -> io::Result<()> {
        if self.cell.flow.card() != CardKind::M2m {
            return queues::all(&self.buffers).try_for_each(|queue| queue.wait_for_event(limit));
        }
        let is_there = |read: &CellBuffer<'_>| {
            let mut buffers = self.buffers.iter();
            let made = buffers.find(|one| one.end.file == read.end.file && one.sent.is_empty());
            made.is_some_and(|made| made.contents() == read.made)
        };
        let read = self.buffers.iter().filter(|one| !one.sent.is_empty());
        patience::wait_until(limit, || Ok(read.clone().all(is_there)))
    }

    /// Waits for a buffer, dequeues it and reads it.
    fn take_frame(&self, buffer: &CellBuffer<'_>, deadline: Instant) -> Result<(), Stop> {
        let Some(queue) = &buffer.queue else {
            return Ok(());
        };
        let wait = || queue.wait(deadline.saturating_duration_since(Instant::now()));
        if self.writer.call("poll", wait).is_err() {
            return Ok(());
        }
        let dequeue = || queue.dequeue(buffer.memory_type());
        // Of a buffer that is queued twice the last frame is what the memory holds.
        if self.cell.hazard == Hazard::QueuedTwice
            && buffer.is_first()
            && (self
                .writer
                .call("VIDIOC_DQBUF of the first", dequeue)
                .is_err()
                || self.writer.call("poll for the second", wait).is_err())
        {
            return Ok(());
        }
        if let Ok(frame) = self.writer.call("VIDIOC_DQBUF", dequeue) {
            // It is the first buffer's pages that were marked idle.
            let is_first = buffer.is_first();
            if is_first && !self.held.is_after_dma() {
                self.tell_idle(IdleMoment::Written)?;
            }
            buffer.tell_frame(&frame, 0, || match is_first {
                true => self.tell_idle(IdleMoment::Read),
                false => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Executes the hazard, and lets the card continue.
    fn run_hazard(&mut self) -> Result<(), Stop> {
        let writer = self.writer;
        match (self.cell.hazard, &self.buffers[0].queue) {
            (Hazard::None, _) => {}
            // It has happened.
            _ if self.cell.point == Point::DuringPin => {}
            (Hazard::Close, _) => {
                for buffer in self.buffers.iter_mut().filter(|one| one.end.file == 0) {
                    buffer.queue = None;
                }
            }
            (Hazard::Streamoff, Some(queue)) => {
                self.writer
                    .must("VIDIOC_STREAMOFF", || queue.stream_off())?;
            }
            (Hazard::QueuedTwice, Some(queue)) => {
                let again = || queue.queue(1, self.buffers[0].layout.memory());
                self.writer.must("VIDIOC_QBUF of the second", again)?;
            }
            (Hazard::Suspend, _) => {
                self.disturb()?;
                self.end_dead_streams()?;
            }
            _ => self.disturb()?,
        }
        for buffer in &self.buffers {
            // Of a frame that is read nothing changes in the memory any more.
            if !self.leaves(buffer) || buffer.end.direction == Direction::Output {
                buffer.tell_contents(Moment::AfterHazard);
            }
        }
        self.look(Moment::AfterHazard)?;
        let first = &self.buffers[0];
        if let Some(queue) = first.queue.as_ref().filter(|_| self.leaves(first)) {
            // The card has not given the buffer back, so the poll must time out.
            let _ = writer.call(HELD_POLL, || queue.wait(Duration::ZERO));
        }
        if self.held.is_before_dma() {
            self.mark_idle()?;
        }
        self.held.release_all(&self.buffers)?;
        if !self.leaves(&self.buffers[0]) {
            // No event is expected, so there is nothing else to wait for.
            writer.spend(Phase::Device, || std::thread::sleep(QUIET));
            for buffer in self.buffers.iter().filter(|one| !self.leaves(one)) {
                buffer.tell_contents(Moment::Dequeued);
            }
        }
        Ok(())
    }

    /// Lets the hazard happen to the first buffer's memory.
    fn disturb(&mut self) -> Result<(), Stop> {
        let hazard = self.cell.hazard;
        let mut context = self.buffers[0].in_hazard(self.cell.point);
        self.writer
            .spend(Phase::Hazard, || hazards::run(hazard, &mut context))
    }

    /// Asks for the buffers of streams that the system has ended by going to sleep, and
    /// stops the streams, after which the driver sets the card up anew.
    fn end_dead_streams(&self) -> Result<(), Stop> {
        for (buffer, queue) in queues::with_queues(&self.buffers) {
            let dequeue = || queue.dequeue(buffer.memory_type());
            let _ = self.writer.call(DEAD_DQBUF, dequeue);
        }
        for queue in queues::all(&self.buffers) {
            self.writer
                .must("VIDIOC_STREAMOFF", || queue.stream_off())?;
        }
        Ok(())
    }

    /// Captures into several buffers, or sends them, while the address space
    /// changes.
    fn contend(&self) -> Result<(), Stop> {
        let Some(device) = &self.buffers[0].queue else {
            return Ok(());
        };
        let layouts = [&self.buffers[0].layout].into_iter().chain(&self.others);
        let buffers: Vec<_> = layouts
            .map(|layout| ContendedBuffer {
                span: layout.buffer,
                sent: Mutex::new(layout.sent(self.cell.flow.subject(), self.access)),
            })
            .collect();
        if self
            .writer
            .call("VIDIOC_STREAMON", || device.stream_on())
            .is_err()
        {
            return Ok(());
        }
        let all_queued = || {
            contention::tell_queued(self.writer, &buffers)?;
            self.held.release(device)
        };
        let captured = contention::transfer(device, self.writer, &buffers, all_queued);
        self.look(Moment::Dequeued)?;
        captured.map_err(|error| Stop::Failed(format!("while two threads queue: {error}")))
    }

    /// Looks at the pages of every buffer, and at the counters.
    pub fn look(&self, moment: Moment) -> Result<(), Stop> {
        buffer::look(self.writer, &self.buffers, moment)
    }

    fn mark_idle(&self) -> io::Result<()> {
        if let Some(idleness) = &self.idleness {
            let seen = idleness.mark(self.buffers[0].layout.buffer)?;
            self.writer.write(&Evidence::Idle(seen));
        }
        Ok(())
    }

    fn tell_idle(&self, moment: IdleMoment) -> io::Result<()> {
        if let Some(idleness) = &self.idleness {
            let seen = idleness.look(moment, self.buffers[0].layout.buffer)?;
            self.writer.write(&Evidence::Idle(seen));
        }
        Ok(())
    }

    fn tell_mappings(&self) {
        if let Some(seen) = mappings::look(&self.cell.device, Moment::Queued) {
            self.writer.write(&Evidence::Mappings(seen));
        }
    }

    fn tell_canaries(&self) {
        for buffer in &self.buffers {
            buffer.tell_canaries();
        }
        for layout in &self.others {
            let read = || layout.canaries(self.access);
            for canary in self.writer.spend(Phase::Contents, read) {
                self.writer.write(&Evidence::Canary(canary));
            }
        }
    }
}

/// Returns whether the process reads the buffers before it looks which pages are
/// idle: it sees so that one frame of a mem-to-mem card was made of the other.
fn is_read_meanwhile(cell: &Cell) -> bool {
    cell.flow.card() == CardKind::M2m && cell.point == Point::AfterDma
}

#[cfg(test)]
mod tests {
    use crate::agent::cell::{Ends, Flow, Kind};

    use super::*;

    #[test]
    fn idle_pages_are_looked_at_unless_the_process_reads_them_first() {
        for (flow, point, is_read) in [
            (Flow::Capture, Point::AfterDma, false),
            (Flow::Output, Point::AfterDma, false),
            (Flow::M2m(Ends::Read), Point::BeforeDma, false),
            (Flow::M2m(Ends::Read), Point::AfterDma, true),
        ] {
            let cell = Cell {
                flow,
                point,
                ..Cell::new(Kind::Heap)
            };
            assert_eq!(is_read_meanwhile(&cell), is_read, "{cell:?}");
        }
    }
}
