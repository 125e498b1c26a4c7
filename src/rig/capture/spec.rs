//! The specification of a stream: a capture, or frames that are played.

use std::path::PathBuf;

use super::store::Store;
use super::tool::{Memory, Rate};
use crate::card::{CardKind, Direction};
use crate::rig::testbed::TestbedSpec;
use crate::source::Layout;

/// The specification of a stream, and its output directory.
#[derive(Debug)]
pub struct CaptureSpec {
    /// Guest, machine and card, whose kind says which way the frames go; the
    /// stream itself sets the paths of console log and witness.
    pub testbed: TestbedSpec,
    /// Format and size of the frames.
    pub layout: Layout,
    /// Number of frames.
    pub frames: u32,
    /// Frame rate.
    pub rate: Rate,
    /// How the application provides its memory.
    pub memory: Memory,
    /// Where the application writes the frames, or has them.
    pub store: Store,
    /// Output directory.
    pub out: PathBuf,
}

impl CaptureSpec {
    /// Returns which way the frames go: they are played to an output card, and
    /// captured from any other.
    pub fn direction(&self) -> Direction {
        match self.testbed.kind {
            CardKind::Output => Direction::Output,
            CardKind::Capture | CardKind::M2m => Direction::Capture,
        }
    }
}
