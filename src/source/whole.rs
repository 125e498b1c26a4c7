//! Sources whose frames come whole, in a raster of their own: films and
//! pictures.

use std::sync::{Arc, Weak};

use super::frame::{Begun, FrameInfo};
use super::raster::Raster;

/// A frame that came whole. Its bytes go home when nobody holds it any more.
#[derive(Debug)]
pub struct Frame {
    /// Its bytes, in the source's raster.
    pub bytes: Box<[u8]>,
    /// Its number. The count continues when the film begins again.
    pub number: u64,
    /// The owner of the bytes; `None` if nobody reuses them.
    pub home: Option<Weak<dyn Home>>,
}

/// The owner of the bytes of frames, which reuses them.
pub trait Home: std::fmt::Debug + Send + Sync {
    /// Takes the bytes of a frame that nobody holds any more.
    fn give_back(&self, bytes: Box<[u8]>);
}

impl Drop for Frame {
    fn drop(&mut self) {
        if !self.bytes.is_empty()
            && let Some(home) = self.home.as_ref().and_then(Weak::upgrade)
        {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// The function that a source calls when it may have a frame again after it was
/// [late](Begun::Late). The source holds no lock when it calls it.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A source whose frames come whole. Its frames are shown as they are, or
/// converted; [`Source::prepare`](super::Source::prepare) has no influence on
/// their raster.
///
/// Frames may be begun before they are due. If one of them is not shown after
/// all, the source [takes it back](Whole::take_back), so that no frame of a pipe
/// is lost.
pub trait Whole {
    /// Returns the raster of all frames.
    fn raster(&self) -> &Raster;

    /// Returns the frame that was begun last. A source that repeats a frame
    /// returns the same one.
    fn frame(&self) -> Option<&Arc<Frame>>;

    /// Returns whether the frames are shown one after the other, whatever their
    /// sequence numbers and times.
    fn is_in_order(&self) -> bool;

    /// Prepares for frames that are begun ahead, `frames` of them at most, or
    /// for frames that are not.
    fn go_ahead(&mut self, ahead: Option<(usize, Wake)>);

    /// As [`Source::begin`](super::Source::begin), for a frame that is begun
    /// ahead, when the last `unshown` frames have not been shown yet. That a
    /// frame is late for which the card does not wait, as it does if it is
    /// `is_awaited`, is forgotten.
    fn begin_ahead(&mut self, info: &FrameInfo, unshown: usize, is_awaited: bool) -> Begun;

    /// Takes the last `frames` frames back, which were begun ahead and not
    /// shown. The source is then as it was before it began them.
    fn take_back(&mut self, frames: usize);
}
