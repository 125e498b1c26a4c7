//! Where pixels come from.
//!
//! A [`Source`] makes frames of one [`Layout`] a piece at a time, so that the
//! card can render straight into guest memory: no frame is ever held whole.

pub mod format;

use std::time::Duration;

pub use format::{Layout, PixelFormat};

/// What a source is told about the frame it is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// V4L2 sequence number of the frame.
    pub sequence: u32,
    /// Time since STREAMON at which the frame was due.
    pub elapsed: Duration,
    /// Time of day at which the frame was due, since the Unix epoch.
    pub wall: Duration,
}

/// A maker of frames.
pub trait Source: Send {
    /// Prepares for frames of `layout`. Called at STREAMON, off the frame
    /// path: this is where a source may allocate.
    fn prepare(&mut self, layout: &Layout);

    /// Begins a frame. Must not allocate.
    fn begin(&mut self, frame: &FrameInfo);

    /// Writes the bytes of the current frame from `offset` on into `out`,
    /// every one of them. Offsets count through the frame as it lies in
    /// memory (for one plane in one buffer, the buffer's). The caller asks in
    /// ascending order, `out` never longer than 4096 bytes nor beyond the end
    /// of the frame. Must not allocate.
    fn fill(&mut self, offset: usize, out: &mut [u8]);
}
