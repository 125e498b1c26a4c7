//! What to capture.

use std::path::PathBuf;

use super::tool::{Memory, Rate};
use crate::rig::testbed::TestbedSpec;
use crate::source::Layout;

/// What to capture, and where to leave it.
#[derive(Debug)]
pub struct CaptureSpec {
    /// Guest, machine and card; where console and witness go is the capture's.
    pub testbed: TestbedSpec,
    /// Format and size of the frames.
    pub layout: Layout,
    /// How many.
    pub frames: u32,
    /// How fast.
    pub rate: Rate,
    /// How the application gives its memory.
    pub memory: Memory,
    /// The folder for all that the capture leaves.
    pub out: PathBuf,
}
