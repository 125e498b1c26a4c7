//! What the oracles are asked to judge.

use crate::agent::cell::CellAnswer;
use crate::rig::matrix::expectation::Expectation;
use crate::rig::matrix::name::Pinning;
use crate::rig::matrix::observation::Observation;
use crate::rig::matrix::witness::CardFrames;

/// All that is known of a cell.
#[derive(Debug, Clone, Copy)]
pub struct CellEvidence<'a> {
    /// What the agent saw.
    pub answer: &'a CellAnswer,
    /// What the card wrote.
    pub card_frames: &'a CardFrames,
    /// What both come to.
    pub observation: Observation,
    /// What was expected.
    pub expectation: &'a Expectation,
    /// The card is given addresses of the DMA API, which here are those of
    /// bounce buffers and not those of the process's pages.
    pub bounced: bool,
    /// Who pinned the buffer; nothing of a driver that is not Pinhole's and may
    /// have a way of its own.
    pub pinning: Option<Pinning>,
}

impl CellEvidence<'_> {
    /// Whether the driver maps the buffer by the DMA API, where that is known;
    /// `translated` is whether the card is given its addresses. The kernel's own
    /// vb2_dma_sg maps in any case.
    pub fn mapped(&self, translated: Option<bool>) -> Option<bool> {
        match (self.pinning, translated) {
            (_, Some(true)) | (Some(Pinning::Native), _) => Some(true),
            (Some(Pinning::FrameVector), Some(false)) => Some(false),
            _ => None,
        }
    }
}
