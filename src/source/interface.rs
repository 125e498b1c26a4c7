//! The trait [`Source`], the interface between the card and its sources.

use std::time::Duration;

use super::layout::Layout;
use super::settings::Settings;

/// The properties of the frame that a source is to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// Number of its stream, incremented at every STREAMON.
    pub stream: u32,
    /// V4L2 sequence number of the frame.
    pub sequence: u32,
    /// Time since STREAMON at which the frame was due.
    pub elapsed: Duration,
    /// Time of day at which the frame was due, since the Unix epoch.
    pub wall: Duration,
}

/// The result of [`Source::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// The frame can be [filled](Source::fill).
    Frame {
        /// Its length in bytes: [`Layout::sizeimage`], or less if compressed.
        bytes: u32,
    },
    /// There is nothing to show yet, for example because a pipe stalls; the
    /// card asks again later.
    Late,
    /// No further frame will come.
    Ended,
}

/// The native properties of a source, before its picture is fitted to the
/// requested format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Native {
    /// Width in pixels and height in lines; `None` if the source draws in any
    /// size.
    pub size: Option<(u32, u32)>,
    /// Seconds between frames, as a fraction; `None` if the source has no rate
    /// of its own.
    pub interval: Option<(u32, u32)>,
    /// Whether the card takes on that size and tells the guest
    /// (V4L2_EVENT_SOURCE_CHANGE), instead of having the picture fitted.
    pub follow: bool,
}

/// A maker of frames.
pub trait Source: Send {
    /// Returns the native properties of the source.
    fn native(&self) -> Native {
        Native::default()
    }

    /// Applies the settings from the next frame on. The camera calls this when
    /// they change, off the frame path, so it may allocate.
    fn set(&mut self, _settings: &Settings) {}

    /// Returns whether the bytes must arrive unchanged, whatever adjustments
    /// are set.
    fn is_exact(&self) -> bool {
        false
    }

    /// Returns whether the pages carry the
    /// [watermark](super::pattern::watermark), which is then put on again after
    /// an adjustment of the picture.
    fn is_marked(&self) -> bool {
        false
    }

    /// Prepares for frames of `layout`. The camera calls this at STREAMON, off
    /// the frame path, so it may allocate.
    fn prepare(&mut self, layout: &Layout);

    /// As [`prepare`](Self::prepare), for frames that are converted to the
    /// layout `shown` before the guest sees them.
    fn prepare_for(&mut self, layout: &Layout, _shown: &Layout) {
        self.prepare(layout);
    }

    /// Begins a frame. It must not allocate.
    fn begin(&mut self, frame: &FrameInfo) -> Begun;

    /// Writes the bytes of the current frame from `offset` on into `out`, and
    /// fills all of it. Offsets count through the frame as [`Layout`] defines.
    /// The caller asks in ascending order, and `out` is never longer than 4096
    /// bytes, nor does it reach beyond the end of a memory plane or of the
    /// frame. It must not allocate.
    fn fill(&mut self, offset: usize, out: &mut [u8]);
}
