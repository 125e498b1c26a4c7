//! Pixel formats and how a frame of each lies in memory.

/// A V4L2 pixel format that the card offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, Y U Y V.
    Yuyv,
    /// Luma plane, then one plane of interleaved U V at half size each way.
    Nv12,
    /// Packed R G B, eight bits each.
    Rgb3,
    /// Luma alone.
    Grey,
}

/// How a frame lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The pixel format.
    pub format: PixelFormat,
    /// Pixels a line; even, 16 to 3840.
    pub width: u32,
    /// Lines a frame; even, 16 to 2160.
    pub height: u32,
    /// Bytes from one line of the first plane to the next.
    pub bytesperline: u32,
    /// Bytes of a whole frame.
    pub sizeimage: u32,
}
