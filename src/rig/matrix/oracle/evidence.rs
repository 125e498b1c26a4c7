//! The input of the oracles.

use crate::agent::cell::answer::BufferSeen;
use crate::agent::cell::{CellAnswer, End, Flow, Point, Schedule};
use crate::card::Direction;
use crate::rig::matrix::expectation::Expectation;
use crate::rig::matrix::name::Pinning;
use crate::rig::matrix::objection::Severity;
use crate::rig::matrix::observation::{Observation, Reads, Sent};
use crate::rig::matrix::witness::CardFrames;

/// The order of the steps of two buffers, and what is expected of the second; what is
/// expected of the cell is of the first.
#[derive(Debug, Clone, Copy)]
pub struct Scheduled<'a> {
    /// The order.
    pub order: Schedule,
    /// The expectation of the second buffer.
    pub second: &'a Expectation,
}

/// The evidence of a cell, or of one of its buffers alone.
#[derive(Debug, Clone, Copy)]
pub struct CellEvidence<'a> {
    /// Which way the cell's frames go.
    pub flow: Flow,
    /// The schedule of the cell, if it has one.
    pub schedule: Option<Scheduled<'a>>,
    /// Number of the buffer among the cell's ([`ends`](Self::ends)).
    pub number: usize,
    /// The point of the hazard, before which the card holds back what comes next.
    pub point: Point,
    /// The agent's evidence of the cell.
    pub cell: &'a CellAnswer,
    /// That of the buffer.
    pub answer: &'a CellAnswer,
    /// The frames that the card wrote to the buffer, or read from it.
    pub card_frames: &'a CardFrames,
    /// The observation derived from both.
    pub observation: Observation,
    /// The expectation.
    pub expectation: &'a Expectation,
    /// Whether the card gets addresses of the DMA API, which are those of
    /// bounce buffers and not those of the process's pages.
    pub bounced: bool,
    /// The code that pinned the buffer; `None` for a driver that is not
    /// Pinhole's and may use another way.
    pub pinning: Option<Pinning>,
    /// Names by which the driver speaks in the kernel's log.
    pub names: &'a [String],
}

impl CellEvidence<'_> {
    /// Returns the cell's buffers.
    pub fn ends(&self) -> &'static [End] {
        let order = self.schedule.map(|schedule| schedule.order);
        self.flow.ends_by(order)
    }

    /// Returns which way the frames of the buffer go.
    pub fn direction(&self) -> Direction {
        self.ends()[self.number].direction
    }

    /// Returns how bad it is that the card has memory that it should not have.
    pub fn trespass(&self) -> Severity {
        match self.direction() {
            Direction::Capture => Severity::MemoryWritten,
            Direction::Output => Severity::MemoryRead,
        }
    }

    /// Returns what the card does to memory, in the past tense.
    pub fn did(&self) -> &'static str {
        match self.direction() {
            Direction::Capture => "wrote",
            Direction::Output => "read",
        }
    }

    /// Returns further buffers of the first one's queue, which are no ends of the
    /// cell's, each with its number. They have plain memory, and nothing happens to it.
    pub fn further(&self) -> impl Iterator<Item = (usize, &BufferSeen)> {
        let ends = self.ends().len();
        let further = (1..).zip(&self.answer.further);
        further.filter(move |(number, _)| *number >= ends)
    }

    /// Returns whether the buffer is to hold what the card wrote, or the card to have
    /// read what it held. Of several outcomes that are expected one may be other data.
    pub fn expects_data(&self) -> bool {
        let data = [
            Observation::Captured(Reads::Written),
            Observation::Sent(Sent::Written),
        ];
        let expected = &self.expectation.outcomes;
        expected.iter().any(|outcome| data.contains(outcome))
            && (data.contains(&self.observation) || !expected.contains(&self.observation))
    }

    /// Returns whether the driver maps the buffer with the DMA API, if that is
    /// known; `translated` is whether the card gets such addresses. The
    /// kernel's own vb2_dma_sg and vb2_dma_contig always map.
    pub fn mapped(&self, translated: Option<bool>) -> Option<bool> {
        match (self.pinning, translated) {
            (_, Some(true)) | (Some(Pinning::Sg | Pinning::Contig), _) => Some(true),
            (Some(Pinning::FrameVector | Pinning::Vmalloc), Some(false)) => Some(false),
            _ => None,
        }
    }
}
