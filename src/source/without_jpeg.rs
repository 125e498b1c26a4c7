//! What there is in place of JPEG without the cargo feature `films`. No guest can
//! ask for it: [`PixelFormat::is_offered`](super::PixelFormat::is_offered).

use super::interface::FrameInfo;

/// Makes no JPEGs.
#[derive(Debug)]
pub struct Jpeg;

impl Jpeg {
    /// One of any size.
    pub fn new(_width: u32, _height: u32, _limit: u32) -> Self {
        Self
    }

    /// There is none that fits.
    pub fn encode(&mut self, _rgb: &[u8], _quality: u8, _frame: &FrameInfo) -> Option<usize> {
        None
    }

    /// No bytes.
    pub fn bytes(&self) -> &[u8] {
        &[]
    }
}
