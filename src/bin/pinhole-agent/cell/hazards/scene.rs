//! What a hazard has to do with.

use pinhole::agent::cell::Point;
use pinhole::agent::cell::evidence::PagesSeen;

use crate::cell::evidence_writer::Scribe;
use crate::cell::memory::layout::Layout;
use crate::cell::span::Hands;

/// The process, its memory, and who hears of it.
pub struct Scene<'a> {
    /// Hears what is done.
    pub scribe: &'a Scribe,
    /// Read and write memory.
    pub hands: &'a Hands,
    /// The memory.
    pub layout: &'a mut Layout,
    /// Its pages before they were pinned, which may have moved them.
    pub laid_out: &'a PagesSeen,
    /// When the hazard comes.
    pub point: Point,
}
