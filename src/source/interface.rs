//! The trait [`Source`], the interface between the card and its sources.

use super::frame::{Begun, FrameInfo, Native};
use super::layout::Layout;
use super::settings::Settings;
use super::whole::Whole;

/// A maker of frames.
///
/// What a source draws follows from the [`FrameInfo`], the settings and the
/// layout alone, because a frame may be begun before it is due, by any thread,
/// and may then not be shown. Only a source whose frames come [`Whole`] need not
/// draw so.
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

    /// Returns the source as one whose frames come whole, if it is one.
    fn whole(&mut self) -> Option<&mut dyn Whole> {
        None
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
    /// The caller asks in ascending order, and `out` reaches neither beyond the
    /// end of a memory plane nor of the frame. It must not allocate.
    fn fill(&mut self, offset: usize, out: &mut [u8]);
}
