//! A buffer of the cell: its memory, its queue of the device, and what is told of
//! it.

use std::io;
use std::ops::Range;

use crate::agent::cell::answer::FURTHER_MAX;
use crate::agent::cell::evidence::{
    ContentsSeen, Evidence, Memory, Moment, PagesSeen, TouchedSeen,
};
use crate::agent::cell::phases::Phase;
use crate::agent::cell::picture::Picture;
use crate::agent::cell::{End, Point};
use crate::card::Direction;
use crate::wire::buffer::Buffer;

use super::contents::{Blocks, digests, frame, upside_down};
use super::conversion::Conversion;
use super::device::Device;
use super::evidence_writer::EvidenceWriter;
use super::hazards::context::HazardContext;
use super::memory::layout::Layout;
use super::span::{MemoryAccess, is_page_frames};
use super::touched::{Frames, touched};
use super::{Stop, pagemap};

/// A buffer of the cell.
pub struct CellBuffer<'a> {
    /// Its number among the cell's.
    number: usize,
    /// Its open file, and which way the frames go.
    pub end: End,
    /// Its memory.
    pub layout: Layout,
    /// The pages of its memory before they were pinned.
    pub laid_out: PagesSeen,
    /// Its queue; `None` while the file is not open, and of a further buffer of the same
    /// queue.
    pub queue: Option<Device>,
    /// The content that the card is to read; empty if it is to write.
    pub sent: Blocks,
    /// What the card is to make of it.
    pub made: Blocks,
    /// Bytes of a line of its frames, if the card is to read them and turns them
    /// upside down.
    turned_line: Option<usize>,
    /// What it held before it was queued, and what is known of its frames, if it is to
    /// be told what the device left of that.
    before: Option<(Vec<u8>, Frames)>,
    /// How a mem-to-mem device is asked what it makes of what this buffer holds.
    pub conversion: Option<Conversion>,
    writer: &'a EvidenceWriter,
    access: &'a MemoryAccess,
}

impl<'a> CellBuffer<'a> {
    /// Returns the buffer `number` in memory that is laid out, and looks at its pages.
    pub fn new(
        number: usize,
        end: End,
        layout: Layout,
        writer: &'a EvidenceWriter,
        access: &'a MemoryAccess,
    ) -> io::Result<Self> {
        let look = || pagemap::look(Moment::LaidOut, layout.buffer);
        Ok(Self {
            laid_out: writer.spend(Phase::Pages, look)?,
            number,
            end,
            layout,
            queue: None,
            sent: Blocks::new(),
            made: Blocks::new(),
            turned_line: None,
            before: None,
            conversion: None,
            writer,
            access,
        })
    }

    /// Returns the V4L2_MEMORY_* by which it is given to the driver.
    pub fn memory_type(&self) -> u32 {
        self.layout.memory().number()
    }

    /// Has the frames that it is read for expected upside down, in lines of that many
    /// bytes.
    pub fn turn_frames(&mut self, line: usize) {
        self.turned_line = Some(line).filter(|_| self.end.direction == Direction::Output);
    }

    /// Returns whether it is the cell's first.
    pub fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Returns whether there may be evidence of it.
    pub fn is_told(&self) -> bool {
        self.number <= FURTHER_MAX
    }

    /// Remembers what it holds before it is queued, in which the device will write
    /// such frames.
    pub fn remember(&mut self, frames: Frames) {
        if self.end.direction == Direction::Capture {
            let read = || self.layout.filling(self.access);
            let filling = self.writer.spend(Phase::Contents, read);
            self.before = filling.map(|bytes| (bytes, frames));
        }
    }

    /// Returns what it holds now; `None` if nothing is remembered of it, or it cannot be
    /// read.
    pub fn held(&self) -> Option<Vec<u8>> {
        self.before.as_ref()?;
        self.access.read(self.layout.buffer).ok()
    }

    /// Forgets what it held: somebody else than the device has written to it.
    pub fn forget(&mut self) {
        self.before = None;
    }

    /// Returns what is there for a hazard that happens to its memory.
    pub fn in_hazard(&mut self, point: Point) -> HazardContext<'_> {
        HazardContext {
            writer: self.writer,
            access: self.access,
            layout: &mut self.layout,
            laid_out: &self.laid_out,
            point,
            direction: self.end.direction,
        }
    }

    /// Writes where its memory is, and the size of its frames in pixels.
    pub fn tell_memory(&self, width: u32, height: u32) {
        let span = self.layout.buffer;
        let is_dmabuf = self.layout.dmabuf.is_some();
        // User pointers to such mappings are refused, so that there is nothing to ask.
        let is_hidden = is_dmabuf && is_page_frames(span);
        if is_hidden {
            self.writer.note(
                "the mapping is of page frames (VM_PFNMAP), and /proc/self/pagemap does not show \
                 them: nobody asks whether the card was given the right ones",
            );
        }
        self.write(Evidence::Memory(Memory {
            address: span.start as u64,
            length: span.len as u64,
            width,
            height,
            is_dmabuf,
            is_hidden,
        }));
    }

    /// Writes evidence of this buffer.
    pub fn write(&self, evidence: Evidence) {
        match self.number {
            0 => self.writer.write(&evidence),
            number => self.writer.write(&Evidence::Of(number, Box::new(evidence))),
        }
    }

    /// Writes which pages its memory has.
    pub fn tell_pages(&self, moment: Moment) -> io::Result<()> {
        let pages = pagemap::look(moment, self.layout.buffer)?;
        self.write(Evidence::Pages(pages));
        Ok(())
    }

    /// Writes what it holds before it is queued, if the card is to read it.
    pub fn tell_sent(&mut self) {
        let read = || self.layout.sent(self.end.direction, self.access);
        self.sent = self.writer.spend(Phase::Contents, read);
        if !self.sent.is_empty() {
            let upside_down = self.upside_down();
            self.made = match self.turned_line {
                None => self.sent.clone(),
                Some(_) => upside_down.clone(),
            };
            self.write(Evidence::Contents(ContentsSeen {
                moment: Moment::Filled,
                digests: self.sent.clone(),
                upside_down,
                made: self.converted(|| self.layout.bytes(self.access)),
            }));
        }
    }

    /// Returns what the process reads in it.
    pub fn contents(&self) -> Blocks {
        let read = || digests(self.access, self.layout.buffer);
        self.writer.spend(Phase::Contents, read)
    }

    /// Returns what the process would read in it if it were turned as the card turns
    /// it; nothing if the card does not.
    fn upside_down(&self) -> Blocks {
        let turned = |line| upside_down(self.access, self.layout.buffer, line);
        let read = || self.turned_line.map_or_else(Blocks::new, turned);
        self.writer.spend(Phase::Contents, read)
    }

    /// Writes what the process reads in it.
    pub fn tell_contents(&self, moment: Moment) {
        let digests = self.contents();
        // What it was when it was queued is known.
        let is_other = moment == Moment::AfterHazard && digests != self.sent;
        let frame = || self.access.read(self.layout.buffer).ok();
        self.write(Evidence::Contents(ContentsSeen {
            moment,
            digests,
            upside_down: self.upside_down(),
            made: is_other.then(|| self.converted(frame)).flatten(),
        }));
    }

    /// Returns what the device makes of a frame, if it can be asked, and the process can
    /// read the frame.
    fn converted(&self, frame: impl FnOnce() -> Option<Vec<u8>>) -> Option<Picture> {
        let conversion = self.conversion.as_ref()?;
        let frame = self.writer.spend(Phase::Contents, frame)?;
        let made = || conversion.picture(&frame);
        match self.writer.spend(Phase::Device, made) {
            Ok(made) => Some(made),
            Err(why) => {
                self.writer.note(format!(
                    "what the device makes of the frame in memory of its driver is not known: \
                     {why}"
                ));
                None
            }
        }
    }

    /// Writes the frame that was dequeued with it, which begins at that byte of it;
    /// `read` is called when the process has read it.
    pub fn tell_frame(
        &self,
        buffer: &Buffer,
        begins: u32,
        read: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let look = || frame(self.access, self.layout.buffer, buffer, &self.sent);
        let mut seen = self.writer.spend(Phase::Contents, look);
        let used = begins as usize..buffer.bytesused.get() as usize;
        let compare = || self.touched(used);
        seen.touched = self.writer.spend(Phase::Contents, compare);
        read()?;
        self.write(Evidence::Frame(seen));
        Ok(())
    }

    /// Returns what the device left of what the buffer held before, whose bytes in
    /// `used` are a frame now.
    fn touched(&self, used: Range<usize>) -> Option<TouchedSeen> {
        let (before, frames) = self.before.as_ref()?;
        let now = self.access.read(self.layout.buffer).ok()?;
        Some(touched(before, &now, used, *frames))
    }

    /// Writes the state of the bytes around it.
    pub fn tell_canaries(&self) {
        let read = || self.layout.canaries(self.access);
        for canary in self.writer.spend(Phase::Contents, read) {
            self.write(Evidence::Canary(canary));
        }
    }
}

/// Looks at the pages of buffers, and at the counters.
pub fn look<'a, 'b: 'a>(
    writer: &EvidenceWriter,
    buffers: impl IntoIterator<Item = &'a CellBuffer<'b>>,
    moment: Moment,
) -> Result<(), Stop> {
    let look = || {
        let mut buffers = buffers.into_iter();
        buffers.try_for_each(|buffer| buffer.tell_pages(moment))?;
        pagemap::counters(moment)
    };
    let counters = writer.spend(Phase::Pages, look)?;
    writer.write(&Evidence::Counters(counters));
    Ok(())
}
