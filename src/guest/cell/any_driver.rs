//! The transfer of a cell on a device of any driver, which holds nothing back.
//!
//! Before STREAMON the device has not begun, so a queued buffer is looked at then, and
//! a hazard before the DMA happens then. A hazard after it happens when the buffer is
//! done and not dequeued. Devices that stream with several buffers only get more of
//! them, in plain memory.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::agent::cell::answer::FURTHER_MAX;
use crate::agent::cell::evidence::{Evidence, HOLD, Moment, ReturnSeen};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::{Cell, Flow, Hazard, Kind, Point, Subject};
use crate::card::BufferType;
use crate::wire::buffer::{BUF_FLAG_DONE, BUF_FLAG_ERROR, Buffer, MEMORY_USERPTR};

use super::buffer::{self, CellBuffer};
use super::contention::{self, ContendedBuffer};
use super::device::{Device, Memory};
use super::evidence_writer::EvidenceWriter;
use super::memory::layout::Want;
use super::patience::{self, FRAME_LIMIT};
use super::span::MemoryAccess;
use super::touched::Frames;
use super::{Stop, hazards, mappings, memory};

/// How long the process waits at least for forbidden writes of the device, and at most:
/// two frames usually come meanwhile.
const QUIET: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(200)];

/// Least number of buffers: with one only, many a device has none to write to while the
/// process has it.
const BUFFERS_MIN: usize = 2;

/// Most buffers that come back before the first one does.
const RETURNS_MAX: usize = 64;

/// Most frames in error of one buffer that are not told: a device that begins may have
/// none that is whole yet, until it has locked on to its signal.
const ERRORS_MAX: usize = 10;

/// Number of frames that are dequeued after the first buffer's.
const MORE: usize = 3;

/// Says why no cell like this one runs on a device of any driver.
pub fn check(cell: &Cell) -> Result<(), Stop> {
    let why = match (cell.flow, cell.hazard) {
        (Flow::M2m(_), _) => "of a mem-to-mem device of any driver there are no cells yet",
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

/// What came with a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Came {
    /// Number of frames, without those in error that are not counted.
    frames: usize,
    /// Number of frames in error that are not counted.
    errors: usize,
}

impl Came {
    /// Counts a frame with those V4L2_BUF_FLAG_*; returns whether it is one to tell: the
    /// first that is whole, or in error if no more of those are let pass.
    fn count(&mut self, flags: u32, may_pass: bool) -> bool {
        let is_in_error = flags & BUF_FLAG_ERROR != 0;
        if is_in_error && may_pass && self.frames == 0 && self.errors < ERRORS_MAX {
            self.errors += 1;
            return false;
        }
        self.frames += 1;
        self.frames == 1
    }
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
        let device = self.must("open", || Device::open_for(&self.cell.device, type_))?;
        let format = self.must("VIDIOC_S_FMT", || device.set_subject(self.subject))?;
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

    /// Ends the transfer of a stream that does not flow. A hazard that ends the stream
    /// cannot come any more then, which is a failure; any other is told of as far as it
    /// came.
    fn give_up(&self, why: String) -> Result<(), Stop> {
        let waits = self.cell.point == Point::AfterDma;
        match waits && !self.cell.hazard.leaves_a_stream() {
            true => Err(Stop::Failed(format!("{why}; the hazard did not happen"))),
            false => Ok(()),
        }
    }

    /// Takes frames until the first buffer came back with one that is told; returns
    /// whether it did.
    fn take_first(&mut self, deadline: Instant) -> Result<bool, Stop> {
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
    fn take_more(&mut self, deadline: Instant) -> Result<(), Stop> {
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

    /// Waits until the first buffer is done; it stays with the driver. While its frame
    /// is in error it is queued again.
    fn wait_for_whole(&mut self, deadline: Instant) -> Result<io::Result<()>, Stop> {
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

    /// Lets the hazard happen; returns whether the stream goes on.
    fn meet_hazard(&mut self) -> Result<bool, Stop> {
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
                self.must("VIDIOC_STREAMOFF", || self.device()?.stream_off())?;
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

/// Returns how long the process waits for forbidden writes of a device, whose frames
/// take that long.
fn quiet(frame_time: Option<Duration>) -> Duration {
    let [least, most] = QUIET;
    frame_time.map_or(most, |frame| frame.saturating_mul(2).clamp(least, most))
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
        assert!(refused(Cell {
            hazard: Hazard::FailNth,
            ..plain()
        }));
    }

    #[test]
    fn the_first_whole_frame_is_told_or_one_after_many_in_error() {
        let mut came = Came::default();
        for _ in 0..ERRORS_MAX {
            assert!(!came.count(BUF_FLAG_ERROR, true));
        }
        assert_eq!(came.frames, 0);
        assert!(came.count(BUF_FLAG_ERROR, true));
        assert!(!came.count(0, true));
        let mut came = Came::default();
        assert!(!came.count(BUF_FLAG_ERROR, true));
        assert!(came.count(BUF_FLAG_DONE, true));
        assert!(!came.count(BUF_FLAG_ERROR, true));
        assert_eq!((came.frames, came.errors), (2, 1));
        // Where it cannot be queued again it is the one.
        assert!(Came::default().count(BUF_FLAG_ERROR, false));
    }

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
