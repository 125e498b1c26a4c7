//! The cell's own process: from the layout to the last observation.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use pinhole::agent::cell::evidence::{
    ContentsSeen, Evidence, HELD_POLL, HOLD, Memory, Moment, PagesSeen,
};
use pinhole::agent::cell::instruments::IdleMoment;
use pinhole::agent::cell::phases::Phase;
use pinhole::agent::cell::{Cell, FrameSize, Hazard, PAGE, Point};
use pinhole::wire::buffer::MEMORY_USERPTR;

use super::contention::ContendedBuffer;
use super::contents::{Blocks, digests, frame};
use super::device::{Device, Memory as Queued};
use super::evidence_writer::EvidenceWriter;
use super::hazards;
use super::hazards::context::HazardContext;
use super::idle::Idleness;
use super::memory::layout::{Layout, Want};
use super::patience::{self, FRAME_LIMIT};
use super::span::MemoryAccess;
use super::{Stop, contention, fail_nth, mappings, memory, pagemap};

/// How long the process waits for forbidden writes of the card.
const QUIET: Duration = Duration::from_millis(30);

/// Argument that makes this program a cell's process.
pub const ARGUMENT: &str = "cell";

/// Runs the cell on standard input and writes its evidence.
pub fn main() -> ExitCode {
    let cell: Cell = match serde_json::from_reader(io::stdin().lock()) {
        Ok(cell) => cell,
        Err(error) => {
            eprintln!("no cell: {error}");
            return ExitCode::from(2);
        }
    };
    let writer = EvidenceWriter::new();
    patience::set(cell.patience);
    match run(&cell, &writer) {
        Ok(()) => {}
        Err(Stop::Impossible(why)) => writer.write(&Evidence::Impossible(why)),
        Err(Stop::Failed(why)) => writer.write(&Evidence::Failed(why)),
    }
    writer.write_phases();
    ExitCode::SUCCESS
}

fn run(cell: &Cell, writer: &EvidenceWriter) -> Result<(), Stop> {
    let size =
        FrameSize::new(cell.kind, cell.tail).map_err(|error| Stop::Failed(error.to_string()))?;
    if cell.offset as usize >= PAGE {
        return Err(Stop::Failed(format!(
            "the offset {} is no place in a page",
            cell.offset
        )));
    }
    let want = Want {
        offset: cell.offset as usize,
        length: size.bytes(),
        roomy: matches!(cell.hazard, Hazard::MadviseCollapse | Hazard::Khugepaged),
        card: cell.direction,
    };
    if !Path::new(pagemap::PAGEMAP).exists() {
        return Err(Stop::Impossible(
            "the kernel tells of no process's pages, it has no CONFIG_PROC_PAGE_MONITOR".into(),
        ));
    }
    writer.spend(Phase::Hazard, || hazards::prepare(cell.hazard))?;
    let access = MemoryAccess::new()?;
    let layout = writer.spend(Phase::Memory, || memory::lay_out(cell.kind, want, &access))?;
    writer.write(&Evidence::Memory(Memory {
        address: layout.buffer.start as u64,
        length: layout.buffer.len as u64,
        width: size.width,
        height: size.height,
    }));
    let buffer = layout.buffer;
    let mut process = CellProcess {
        cell,
        writer,
        access,
        layout,
        others: Vec::new(),
        sent: Blocks::new(),
        laid_out: writer.spend(Phase::Pages, || pagemap::look(Moment::LaidOut, buffer))?,
        idleness: Idleness::new(),
        held: false,
    };
    if cell.hazard == Hazard::MmapContention {
        for _ in 1..contention::BUFFERS {
            let other = memory::lay_out(cell.kind, want, &process.access)?;
            process.others.push(other);
        }
    }
    process.look(Moment::LaidOut)?;
    if cell.hazard == Hazard::FailNth {
        fail_nth::run(&fail_nth::CellContext {
            cell,
            writer,
            access: &process.access,
            want,
            size,
            layout: &process.layout,
        })?;
    }
    let device = writer
        .call("open", || Device::open(&cell.device, cell.direction))
        .map_err(|error| Stop::Failed(format!("open {}: {error}", cell.device)))?;
    process.transfer(device, size)
}

/// The process of a cell whose memory is laid out.
struct CellProcess<'a> {
    cell: &'a Cell,
    writer: &'a EvidenceWriter,
    access: MemoryAccess,
    layout: Layout,
    /// Memory layouts of further buffers.
    others: Vec<Layout>,
    /// The content that the card is to read; empty if it is to write.
    sent: Blocks,
    /// The pages of the buffer before they were pinned.
    laid_out: PagesSeen,
    /// Access to the idle state of pages; `None` if the kernel does not track
    /// it.
    idleness: Option<Idleness>,
    /// Whether the card holds back what comes after this cell's point. What is
    /// looked at until it is released is looked at while the card has the buffer.
    held: bool,
}

impl CellProcess<'_> {
    fn transfer(&mut self, device: Device, size: FrameSize) -> Result<(), Stop> {
        let writer = self.writer;
        let sizeimage = self.must("VIDIOC_S_FMT", || device.set_format(size))?;
        if sizeimage != self.layout.buffer.len {
            return Err(Stop::Failed(format!(
                "the device makes frames of {sizeimage} bytes, not of {}",
                self.layout.buffer.len
            )));
        }
        let buffers = 1 + self.others.len() as u32;
        self.must("VIDIOC_REQBUFS", || {
            device.request_buffers(buffers, MEMORY_USERPTR)
        })?;
        let mut device = Some(device);
        match (self.cell.hazard, &device) {
            // The failures before must not have left anything behind.
            (Hazard::FailNth, _) | (_, None) => {}
            (hazard, Some(open)) => match self.hold(open) {
                Err(Stop::Impossible(why)) if hazard == Hazard::None => {
                    writer.note(format!("{why}; pins are not looked at"));
                }
                held => self.held = held.map(|()| true)?,
            },
        }
        match self.cell.hazard {
            Hazard::MmapContention => self.contend(&device)?,
            _ => self.stream(&mut device)?,
        }
        self.tell_canaries();
        if let Some(device) = &device {
            // Some devices do not release a failed stream.
            let _ = writer.call("VIDIOC_STREAMOFF", || device.stream_off());
            let _ = writer.call("VIDIOC_REQBUFS", || {
                device.request_buffers(0, MEMORY_USERPTR)
            });
        }
        self.look(Moment::Stopped)
    }

    /// Makes the card hold back what comes after this cell's point.
    fn hold(&self, device: &Device) -> Result<(), Stop> {
        let impossible =
            |error| Stop::Impossible(format!("the card cannot hold back what it does: {error}"));
        let point = self.cell.point;
        if point == Point::AfterDma {
            self.writer
                .call("VIDIOC_SUBSCRIBE_EVENT", || device.subscribe_to_frames())
                .map_err(impossible)?;
        }
        let hold = || device.hold(point, true);
        self.writer.call(HOLD, hold).map_err(impossible)
    }

    /// Lets the card go on.
    fn release(&self, device: &Device) -> Result<(), Stop> {
        self.must("release", || device.hold(self.cell.point, false))
    }

    /// Runs the stream from QBUF to the frame.
    fn stream(&mut self, device: &mut Option<Device>) -> Result<(), Stop> {
        let writer = self.writer;
        let Some(open) = device else { return Ok(()) };
        self.tell_sent();
        // A refusal may be the expected result.
        let queue = || open.queue(0, Queued::User(self.layout.buffer));
        if writer.call("VIDIOC_QBUF", queue).is_err() {
            return Ok(());
        }
        // The card does nothing until the stream is on. If the card holds the
        // frame back, the pages are marked idle after the hazard.
        if !self.is_held_before_dma() {
            self.mark_idle()?;
        }
        if writer.call("VIDIOC_STREAMON", || open.stream_on()).is_err() {
            return Ok(());
        }
        if self.is_held_after_dma() {
            let wait = || open.wait_for_event(patience::of(FRAME_LIMIT));
            writer.call("poll for the frame", wait).map_err(|error| {
                Stop::Failed(format!("the card does nothing with the frame: {error}"))
            })?;
            self.tell_idle(IdleMoment::Written)?;
            if !self.cell.direction.is_capture() {
                self.tell_contents(Moment::Queued);
            }
        }
        self.look(Moment::Queued)?;
        if matches!(self.cell.hazard, Hazard::None | Hazard::FailNth) {
            self.tell_mappings();
        }
        if self.held {
            self.run_hazard(device)?;
        }
        let leaves = self.cell.hazard.leaves_a_stream();
        if let Some(open) = device.as_ref().filter(|_| leaves)
            && writer
                .call("poll", || open.wait(patience::of(FRAME_LIMIT)))
                .is_ok()
            && let Ok(buffer) = writer.call("VIDIOC_DQBUF", || open.dequeue(MEMORY_USERPTR))
        {
            if !self.is_held_after_dma() {
                self.tell_idle(IdleMoment::Written)?;
            }
            let read = || frame(&self.access, self.layout.buffer, &buffer, &self.sent);
            let seen = writer.spend(Phase::Contents, read);
            self.tell_idle(IdleMoment::Read)?;
            writer.write(&Evidence::Frame(seen));
        }
        self.look(Moment::Dequeued)
    }

    /// Executes the hazard, and lets the card continue.
    fn run_hazard(&mut self, device: &mut Option<Device>) -> Result<(), Stop> {
        let writer = self.writer;
        match (self.cell.hazard, &device) {
            (Hazard::None, _) => {}
            (Hazard::Close, _) => *device = None,
            (Hazard::Streamoff, Some(open)) => {
                self.must("VIDIOC_STREAMOFF", || open.stream_off())?;
            }
            (hazard, _) => {
                let mut context = HazardContext {
                    writer,
                    access: &self.access,
                    layout: &mut self.layout,
                    laid_out: &self.laid_out,
                    point: self.cell.point,
                    card: self.cell.direction,
                };
                writer.spend(Phase::Hazard, || hazards::run(hazard, &mut context))?;
            }
        }
        let leaves = self.cell.hazard.leaves_a_stream();
        // Of a frame that is read nothing changes in the memory any more.
        if !leaves || !self.cell.direction.is_capture() {
            self.tell_contents(Moment::AfterHazard);
        }
        self.look(Moment::AfterHazard)?;
        if let Some(open) = device.as_ref().filter(|_| leaves) {
            // The card has not given the buffer back, so the poll must time out.
            let _ = writer.call(HELD_POLL, || open.wait(Duration::ZERO));
        }
        if self.is_held_before_dma() {
            self.mark_idle()?;
        }
        // The controls are set on the device itself, or on one that is opened
        // anew.
        let again = match device {
            Some(_) => None,
            None => Some(Device::open(&self.cell.device, self.cell.direction)?),
        };
        if let Some(open) = device.as_ref().or(again.as_ref()) {
            self.release(open)?;
        }
        if !leaves {
            // No event is expected, so there is nothing else to wait for.
            writer.spend(Phase::Device, || std::thread::sleep(QUIET));
            self.tell_contents(Moment::Dequeued);
        }
        Ok(())
    }

    /// Captures into several buffers, or sends them, while the address space
    /// changes.
    fn contend(&self, device: &Option<Device>) -> Result<(), Stop> {
        let Some(device) = device else { return Ok(()) };
        let layouts = [&self.layout].into_iter().chain(&self.others);
        let buffers: Vec<_> = layouts
            .map(|layout| ContendedBuffer {
                span: layout.buffer,
                sent: Mutex::new(layout.sent(self.cell.direction, &self.access)),
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
            for (index, buffer) in (0..).zip(&buffers) {
                let mut pages = pagemap::look(Moment::Queued, buffer.span)?;
                pages.buffer = index;
                self.writer.write(&Evidence::Pages(pages));
            }
            let counters = pagemap::counters(Moment::Queued)?;
            self.writer.write(&Evidence::Counters(counters));
            self.writer
                .call("release", || device.hold(self.cell.point, false))
        };
        let captured = contention::transfer(device, self.writer, &buffers, all_queued);
        self.look(Moment::Dequeued)?;
        captured.map_err(|error| Stop::Failed(format!("while two threads queue: {error}")))
    }

    /// Makes a call that must succeed, or the cell fails.
    fn must<T>(&self, name: &str, call: impl FnOnce() -> io::Result<T>) -> Result<T, Stop> {
        self.writer
            .call(name, call)
            .map_err(|error| Stop::Failed(format!("{name}: {error}")))
    }

    fn look(&self, moment: Moment) -> Result<(), Stop> {
        let look = || {
            let pages = pagemap::look(moment, self.layout.buffer)?;
            Ok::<_, io::Error>((pages, pagemap::counters(moment)?))
        };
        let (pages, counters) = self.writer.spend(Phase::Pages, look)?;
        self.writer.write(&Evidence::Pages(pages));
        self.writer.write(&Evidence::Counters(counters));
        Ok(())
    }

    /// Returns whether the card does nothing before it is released.
    fn is_held_before_dma(&self) -> bool {
        self.held && self.cell.point == Point::BeforeDma
    }

    /// Returns whether the card has written the frame, or read it, before the
    /// hazard happens.
    fn is_held_after_dma(&self) -> bool {
        self.held && self.cell.point == Point::AfterDma
    }

    fn mark_idle(&self) -> Result<(), Stop> {
        if let Some(idleness) = &self.idleness {
            let seen = idleness.mark(self.layout.buffer)?;
            self.writer.write(&Evidence::Idle(seen));
        }
        Ok(())
    }

    fn tell_idle(&self, moment: IdleMoment) -> Result<(), Stop> {
        if let Some(idleness) = &self.idleness {
            let seen = idleness.look(moment, self.layout.buffer)?;
            self.writer.write(&Evidence::Idle(seen));
        }
        Ok(())
    }

    fn tell_mappings(&self) {
        if let Some(seen) = mappings::look(&self.cell.device, Moment::Queued) {
            self.writer.write(&Evidence::Mappings(seen));
        }
    }

    /// Writes what the buffer holds before it is queued, if the card is to read
    /// it.
    fn tell_sent(&mut self) {
        let read = || self.layout.sent(self.cell.direction, &self.access);
        self.sent = self.writer.spend(Phase::Contents, read);
        if !self.sent.is_empty() {
            self.writer.write(&Evidence::Contents(ContentsSeen {
                moment: Moment::Filled,
                digests: self.sent.clone(),
            }));
        }
    }

    fn tell_contents(&self, moment: Moment) {
        let read = || digests(&self.access, self.layout.buffer);
        let digests = self.writer.spend(Phase::Contents, read);
        self.writer
            .write(&Evidence::Contents(ContentsSeen { moment, digests }));
    }

    fn tell_canaries(&self) {
        for layout in [&self.layout].into_iter().chain(&self.others) {
            let read = || layout.canaries(&self.access);
            for canary in self.writer.spend(Phase::Contents, read) {
                self.writer.write(&Evidence::Canary(canary));
            }
        }
    }
}
