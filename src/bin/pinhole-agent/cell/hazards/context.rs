//! What a hazard has to do with.

use pinhole::agent::cell::Point;
use pinhole::agent::cell::evidence::PagesSeen;

use crate::cell::evidence_writer::EvidenceWriter;
use crate::cell::memory::layout::Layout;
use crate::cell::span::MemoryAccess;

/// The process, its memory, and who hears of it.
pub struct HazardContext<'a> {
    /// Hears what is done.
    pub writer: &'a EvidenceWriter,
    /// Read and write memory.
    pub access: &'a MemoryAccess,
    /// The memory.
    pub layout: &'a mut Layout,
    /// Its pages before they were pinned, which may have moved them.
    pub laid_out: &'a PagesSeen,
    /// When the hazard comes.
    pub point: Point,
}
