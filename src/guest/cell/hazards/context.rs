//! The context of a hazard.

use crate::agent::cell::Point;
use crate::agent::cell::evidence::PagesSeen;
use crate::card::Direction;

use crate::guest::cell::evidence_writer::EvidenceWriter;
use crate::guest::cell::memory::layout::Layout;
use crate::guest::cell::span::MemoryAccess;

/// The process, its memory, and the writer of evidence.
pub struct HazardContext<'a> {
    /// Writer of the evidence.
    pub writer: &'a EvidenceWriter,
    /// Access to the memory.
    pub access: &'a MemoryAccess,
    /// The memory.
    pub layout: &'a mut Layout,
    /// The pages before they were pinned; pinning may have moved them.
    pub laid_out: &'a PagesSeen,
    /// The point at which the hazard happens.
    pub point: Point,
    /// Which way the frames of the card go that has the memory.
    pub direction: Direction,
}
