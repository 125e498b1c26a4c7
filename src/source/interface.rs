//! The trait [`Source`]: what the card asks of a source, and what it tells it.

use std::time::Duration;

use super::layout::Layout;
use super::settings::Settings;

/// What a source is told about the frame it is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// Number of the stream it belongs to: one more at every STREAMON.
    pub stream: u32,
    /// V4L2 sequence number of the frame.
    pub sequence: u32,
    /// Time since STREAMON at which the frame was due.
    pub elapsed: Duration,
    /// Time of day at which the frame was due, since the Unix epoch.
    pub wall: Duration,
}

/// What became of a frame that was to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// It can be [filled](Source::fill).
    Frame {
        /// Its length in bytes: [`Layout::sizeimage`], or less if compressed.
        bytes: u32,
    },
    /// There is nothing to show yet (a pipe that stalls); to be asked again.
    Late,
    /// There will be no frame any more.
    Ended,
}

/// What a source shows by itself, before it is fitted to what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Native {
    /// Pixels and lines; none for a source that draws in any size.
    pub size: Option<(u32, u32)>,
    /// Seconds between frames, as a fraction; none for a source that has no
    /// pace of its own.
    pub interval: Option<(u32, u32)>,
    /// Whether the card is to take on that size and tell the guest
    /// (V4L2_EVENT_SOURCE_CHANGE), rather than have it fitted.
    pub follow: bool,
}

/// A maker of frames.
pub trait Source: Send {
    /// What it shows by itself.
    fn native(&self) -> Native {
        Native::default()
    }

    /// Takes over the settings, which hold from the next frame on. Called when
    /// they change, off the frame path: it may allocate.
    fn set(&mut self, _settings: &Settings) {}

    /// Whether its bytes are to arrive as they are, however the picture is
    /// adjusted.
    fn is_exact(&self) -> bool {
        false
    }

    /// Whether its pages carry the [watermark](super::pattern::watermark), which is
    /// then put on again after the picture was adjusted.
    fn is_marked(&self) -> bool {
        false
    }

    /// Prepares for frames of `layout`. Called at STREAMON, off the frame
    /// path: this is where a source may allocate.
    fn prepare(&mut self, layout: &Layout);

    /// As [`prepare`](Self::prepare), for frames that are made into something
    /// else, `shown`, before anybody sees them.
    fn prepare_for(&mut self, layout: &Layout, _shown: &Layout) {
        self.prepare(layout);
    }

    /// Begins a frame. Must not allocate.
    fn begin(&mut self, frame: &FrameInfo) -> Begun;

    /// Writes the bytes of the current frame from `offset` on into `out`,
    /// every one of them. Offsets count through the frame as [`Layout`] says.
    /// The caller asks in ascending order, `out` never longer than 4096 bytes
    /// nor beyond the end of a memory plane or of the frame. Must not
    /// allocate.
    fn fill(&mut self, offset: usize, out: &mut [u8]);
}
