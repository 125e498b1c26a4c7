//! Replaces the JPEG encoder where the cargo feature `films` is off. No guest can
//! ask for MJPG then: [`PixelFormat::is_offered`](super::PixelFormat::is_offered).

use super::interface::FrameInfo;

/// An encoder that makes no JPEG.
#[derive(Debug)]
pub struct Jpeg;

impl Jpeg {
    /// Returns an encoder; sizes do not matter.
    pub fn new(_width: u32, _height: u32, _limit: u32) -> Self {
        Self
    }

    /// Returns `None`: no JPEG fits.
    pub fn encode(&mut self, _rgb: &[u8], _quality: u8, _frame: &FrameInfo) -> Option<usize> {
        None
    }

    /// Returns no bytes.
    pub fn bytes(&self) -> &[u8] {
        &[]
    }
}
