//! Replaces the JPEG encoder where the cargo feature `films` is off. No guest can
//! ask for MJPG then: [`PixelFormat::is_offered`](super::PixelFormat::is_offered).

use super::frame::FrameInfo;
use super::layout::Layout;

/// Returns `None`: no JPEG fits.
pub fn encode(
    _frame: &[u8],
    _drawn: &Layout,
    _shown: &Layout,
    _quality: u8,
    _out: &mut Vec<u8>,
) -> Option<usize> {
    None
}

/// Writes no segment.
pub fn segment(_frame: &FrameInfo, segment: &mut Vec<u8>) {
    segment.clear();
}
