//! The transfer of a cell on a device of any driver, which holds nothing back.
//!
//! Before STREAMON the device has not begun, so a queued buffer is looked at then, and
//! a hazard before the DMA happens then. A hazard after it happens when the buffer is
//! done and not dequeued. Devices that stream with several buffers only get more of
//! them, in plain memory.

use std::io;
use std::time::{Duration, Instant};

use crate::agent::cell::answer::FURTHER_MAX;
use crate::agent::cell::evidence::{Evidence, HOLD, Moment, ReturnSeen};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Cell, Flow, Hazard, Kind, Point, Subject};
use crate::card::BufferType;
use crate::wire::buffer::{Buffer, MEMORY_USERPTR};
use crate::wire::format::PixFormat;
use zerocopy::FromZeros;

use super::buffer::{self, CellBuffer};
use super::device::{Device, Memory};
use super::evidence_writer::EvidenceWriter;
use super::memory::layout::Want;
use super::patience::{self, FRAME_LIMIT};
use super::span::MemoryAccess;
use super::touched::Lines;
use super::{Stop, hazards, mappings, memory};

/// How long the process waits for forbidden writes of the device.
const QUIET: Duration = Duration::from_millis(30);

/// Number of frames that are dequeued after the first buffer's.
const MORE: usize = 3;

/// Says why no cell like this one runs on a device of any driver.
pub fn check(cell: &Cell) -> Result<(), Stop> {
    let why = match (cell.flow, cell.hazard) {
        (Flow::M2m(_), _) => "of a mem-to-mem device of any driver there are no cells yet",
        (_, Hazard::MmapContention) => "contention takes Pinhole's card, which waits for it",
        (_, Hazard::FailNth) => "failures are injected into Pinhole's own driver only",
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
    /// The buffers, by their index. The first has the cell's kind of memory, and the
    /// queue of all.
    buffers: Vec<CellBuffer<'a>>,
    /// Number of frames that came with each buffer.
    came: Vec<usize>,
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
        for number in 1..subject.buffers.max(1) as usize {
            let layout = memory::lay_out(Kind::AnonTouched, want, access)?;
            let buffer = CellBuffer::new(number, end, layout, writer, access)?;
            buffers.push(buffer);
        }
        Ok(Self {
            cell,
            subject,
            writer,
            came: vec![0; buffers.len()],
            buffers,
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
        self.stream()?;
        for buffer in self.told() {
            buffer.tell_canaries();
        }
        if let Some(device) = &self.buffers[0].queue {
            // Some devices do not release a failed stream.
            let _ = self.writer.call("VIDIOC_STREAMOFF", || device.stream_off());
            let free = || device.request_buffers(0, MEMORY_USERPTR);
            let _ = self.writer.call("VIDIOC_REQBUFS", free);
        }
        self.look(Moment::Stopped)
    }

    /// Opens the device, and makes its buffers.
    fn open(&mut self) -> Result<(), Stop> {
        let type_ = BufferType {
            direction: self.cell.flow.subject(),
            api: self.subject.api,
        };
        let device = self.must("open", || Device::open_for(&self.cell.device, type_))?;
        let wanted = PixFormat {
            width: self.subject.width.into(),
            height: self.subject.height.into(),
            pixelformat: self.subject.pixelformat.into(),
            ..FromZeros::new_zeroed()
        };
        let format = self.must("VIDIOC_S_FMT", || device.change_format(wanted))?;
        if format.sizeimage.get() != self.subject.sizeimage {
            return Err(Stop::Failed(format!(
                "the device makes frames of {} bytes now, not of {}",
                format.sizeimage.get(),
                self.subject.sizeimage
            )));
        }
        let wanted = self.buffers.len() as u32;
        let request = || device.request_buffers(wanted, MEMORY_USERPTR);
        let made = self.must("VIDIOC_REQBUFS", request)?;
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
        let lines = Lines::of(self.subject);
        for buffer in &mut self.buffers {
            buffer.tell_sent();
            if !self.cell.hazard.replaces_memory() {
                buffer.remember(lines);
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
        if self.writer.call("VIDIOC_STREAMON", on).is_err() {
            return Ok(());
        }
        let deadline = Instant::now() + patience::of(FRAME_LIMIT);
        if self.cell.point == Point::AfterDma {
            let wait = || self.wait_for_first(deadline);
            if self.writer.call("poll for the frame", wait).is_err() || !self.meet_hazard()? {
                return Ok(());
            }
        }
        while self.came[0] == 0 {
            let Some(index) = self.take_frame(deadline)? else {
                return Ok(());
            };
            if index != 0 && self.queue(index).is_err() {
                return Ok(());
            }
        }
        self.look(Moment::Dequeued)?;
        if self.cell.hazard == Hazard::None {
            self.take_more(deadline)?;
        }
        Ok(())
    }

    /// Takes a few frames more, with the first buffer as well, so that their order is
    /// seen.
    fn take_more(&mut self, deadline: Instant) -> Result<(), Stop> {
        let mut index = 0;
        for _ in 0..MORE {
            if self.queue(index).is_err() {
                break;
            }
            match self.take_frame(deadline)? {
                Some(next) => index = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Waits until the first buffer is done; it stays with the driver.
    fn wait_for_first(&self, deadline: Instant) -> io::Result<()> {
        /// Time between two looks.
        const LOOK: Duration = Duration::from_millis(1);
        let device = self.device()?;
        while !device.is_done(0, MEMORY_USERPTR)? {
            if Instant::now() >= deadline {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits for a buffer, dequeues it and tells of it; returns its index, or nothing
    /// if none comes.
    fn take_frame(&mut self, deadline: Instant) -> Result<Option<usize>, Stop> {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = || self.device()?.wait(left);
        if self.writer.call("poll", wait).is_err() {
            return Ok(None);
        }
        let dequeue = || self.device()?.dequeue(MEMORY_USERPTR);
        let Ok(frame) = self.writer.call("VIDIOC_DQBUF", dequeue) else {
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
        self.came[index] += 1;
        if self.came[index] == 1 && buffer.is_told() {
            buffer.tell_frame(&frame, || Ok(()))?;
        }
        Ok(Some(index))
    }

    /// Lets the hazard happen; returns whether the stream goes on.
    fn meet_hazard(&mut self) -> Result<bool, Stop> {
        match self.cell.hazard {
            Hazard::None => return Ok(true),
            Hazard::Close => self.buffers[0].queue = None,
            Hazard::Streamoff => self.must("VIDIOC_STREAMOFF", || self.device()?.stream_off())?,
            hazard => {
                let point = self.cell.point;
                let mut context = self.buffers[0].in_hazard(point);
                let run = || hazards::run(hazard, &mut context);
                self.writer.spend(Phase::Hazard, run)?;
            }
        }
        let goes_on = self.cell.hazard.leaves_a_stream();
        if !goes_on || !self.cell.flow.is_capture() {
            self.buffers[0].tell_contents(Moment::AfterHazard);
        }
        self.look(Moment::AfterHazard)?;
        if !goes_on {
            let wait = || std::thread::sleep(QUIET);
            self.writer.spend(Phase::Device, wait);
            self.buffers[0].tell_contents(Moment::Dequeued);
        }
        Ok(goes_on)
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

    fn must<T>(&self, name: &str, call: impl FnOnce() -> io::Result<T>) -> Result<T, Stop> {
        self.writer
            .call(name, call)
            .map_err(|error| Stop::Failed(format!("{name}: {error}")))
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
        for hazard in [Hazard::FailNth, Hazard::MmapContention] {
            assert!(refused(Cell { hazard, ..plain() }));
        }
    }

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
