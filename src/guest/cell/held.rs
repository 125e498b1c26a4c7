//! What the card holds back of a frame, and when it goes on: nothing happens to the
//! frame, or nothing is said of it, until the hazard has happened.

use crate::agent::cell::evidence::HOLD;
use crate::agent::cell::{Cell, Hazard, Point};
use crate::card::CardKind;

use super::buffer::CellBuffer;
use super::device::Device;
use super::evidence_writer::EvidenceWriter;
use super::{Stop, queues};

/// What the card holds back.
pub struct Held<'a> {
    cell: &'a Cell,
    writer: &'a EvidenceWriter,
    /// Whether it holds anything back. What is looked at until it is released is looked at
    /// while the card has the buffer.
    is_held: bool,
}

impl<'a> Held<'a> {
    /// Returns what nothing is held back of yet.
    pub fn new(cell: &'a Cell, writer: &'a EvidenceWriter) -> Self {
        Self {
            cell,
            writer,
            is_held: false,
        }
    }

    /// Makes the card hold back what comes after this cell's point. A card that cannot is
    /// enough for a cell without a hazard.
    pub fn hold(&mut self, buffers: &[CellBuffer<'_>]) -> Result<(), Stop> {
        match self.ask(buffers) {
            Err(Stop::Impossible(why)) if self.cell.hazard == Hazard::None => {
                self.writer.note(format!("{why}; pins are not looked at"));
                Ok(())
            }
            held => {
                self.is_held = held.is_ok();
                held
            }
        }
    }

    fn ask(&self, buffers: &[CellBuffer<'_>]) -> Result<(), Stop> {
        let impossible =
            |error| Stop::Impossible(format!("the card cannot hold back what it does: {error}"));
        for file in queues::files(buffers) {
            // A mem-to-mem card tells of no beginnings of frames.
            if self.point() == Point::AfterDma && self.cell.flow.card() != CardKind::M2m {
                self.writer
                    .call("VIDIOC_SUBSCRIBE_EVENT", || file.subscribe_to_frames())
                    .map_err(impossible)?;
            }
            let hold = || file.hold(self.point(), true);
            self.writer.call(HOLD, hold).map_err(impossible)?;
        }
        Ok(())
    }

    /// Returns whether the card holds anything back.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Returns whether the card does nothing before it is released.
    pub fn is_before_dma(&self) -> bool {
        self.is_held && self.point() == Point::BeforeDma
    }

    /// Returns whether the card has written the frame, or read it, before the hazard
    /// happens.
    pub fn is_after_dma(&self) -> bool {
        self.is_held && self.point() == Point::AfterDma
    }

    /// Returns the point at which the card waits to be released.
    fn point(&self) -> Point {
        match self.cell.point {
            Point::AfterDma => Point::AfterDma,
            _ => Point::BeforeDma,
        }
    }

    /// Lets the card go on with what it holds back for that file.
    pub fn release(&self, file: &Device) -> std::io::Result<()> {
        let release = || file.hold(self.point(), false);
        self.writer.call("release", release)
    }

    /// Lets the card go on with what it holds back for files that are open, or, if its
    /// controls are its own, for all.
    pub fn release_all(&self, buffers: &[CellBuffer<'_>]) -> Result<(), Stop> {
        let is_m2m = self.cell.flow.card() == CardKind::M2m;
        // A mem-to-mem card's file is dead after a sleep, and what was held for it is gone.
        if is_m2m && self.cell.hazard == Hazard::Suspend {
            return Ok(());
        }
        let failed = |error| Stop::Failed(format!("release: {error}"));
        let mut files = queues::files(buffers).peekable();
        if files.peek().is_none() && !is_m2m {
            let again = Device::open(&self.cell.device, self.cell.flow.subject())?;
            return self.release(&again).map_err(failed);
        }
        files
            .try_for_each(|file| self.release(file))
            .map_err(failed)
    }
}
