//! A buffer of the cell: its memory, its queue of the device, and what is told of
//! it.

use std::io;

use crate::agent::cell::End;
use crate::agent::cell::evidence::{ContentsSeen, Evidence, Moment, PagesSeen};
use crate::agent::cell::phases::Phase;
use crate::card::Direction;
use crate::wire::buffer::Buffer;

use super::contents::{Blocks, digests, frame, upside_down};
use super::device::Device;
use super::evidence_writer::EvidenceWriter;
use super::memory::layout::Layout;
use super::pagemap;
use super::span::MemoryAccess;

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
    /// Its queue; `None` while the file is not open.
    pub queue: Option<Device>,
    /// The content that the card is to read; empty if it is to write.
    pub sent: Blocks,
    /// What the card is to make of it.
    pub made: Blocks,
    /// Bytes of a line of its frames, if the card is to read them and turns them
    /// upside down.
    turned_line: Option<usize>,
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
            writer,
            access,
        })
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
        self.write(Evidence::Contents(ContentsSeen {
            moment,
            digests: self.contents(),
            upside_down: self.upside_down(),
        }));
    }

    /// Writes the frame that was dequeued with it; `read` is called when the process
    /// has read it.
    pub fn tell_frame(
        &self,
        buffer: &Buffer,
        read: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let look = || frame(self.access, self.layout.buffer, buffer, &self.sent);
        let seen = self.writer.spend(Phase::Contents, look);
        read()?;
        self.write(Evidence::Frame(seen));
        Ok(())
    }

    /// Writes the state of the bytes around it.
    pub fn tell_canaries(&self) {
        let read = || self.layout.canaries(self.access);
        for canary in self.writer.spend(Phase::Contents, read) {
            self.write(Evidence::Canary(canary));
        }
    }
}
