//! The specification of a capture.

use std::path::PathBuf;

use super::store::Store;
use super::tool::{Memory, Rate};
use crate::rig::testbed::TestbedSpec;
use crate::source::Layout;

/// The specification of a capture, and its output directory.
#[derive(Debug)]
pub struct CaptureSpec {
    /// Guest, machine and card; the capture itself sets the paths of console
    /// log and witness.
    pub testbed: TestbedSpec,
    /// Format and size of the frames.
    pub layout: Layout,
    /// Number of frames.
    pub frames: u32,
    /// Frame rate.
    pub rate: Rate,
    /// How the application provides its memory.
    pub memory: Memory,
    /// Where the application writes the frames.
    pub store: Store,
    /// Output directory.
    pub out: PathBuf,
}
