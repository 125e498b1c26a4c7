//! Streaming parameters: at what rate frames are captured or shown.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::format::Fract;

/// V4L2_CAP_TIMEPERFRAME: the frame interval can be set.
pub const CAP_TIMEPERFRAME: u32 = 0x1000;

/// `struct v4l2_streamparm` with its union as `capture`, or as `output`, whose
/// fields have the same places.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamParm {
    /// Buffer type.
    pub type_: U32,
    /// V4L2_CAP_TIMEPERFRAME.
    pub capability: U32,
    /// V4L2_MODE_*.
    pub capturemode: U32,
    /// Frame interval, in seconds.
    pub timeperframe: Fract,
    /// Driver-specific.
    pub extendedmode: U32,
    /// Number of buffers for read() or write(), which the card has not.
    pub readbuffers: U32,
    /// Reserved.
    pub reserved: [U32; 4],
    /// The bytes of the union that `capture` does not use.
    pub rest: [u8; 160],
}

impl StreamParm {
    /// Returns the parameters of buffers of that type with the frame interval
    /// `timeperframe`.
    pub fn of(buffer_type: u32, timeperframe: Fract) -> Self {
        Self {
            type_: buffer_type.into(),
            capability: CAP_TIMEPERFRAME.into(),
            timeperframe,
            ..FromZeros::new_zeroed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(StreamParm, 204, {
            type_: 0, capability: 4, capturemode: 8, timeperframe: 12, extendedmode: 20,
            readbuffers: 24, reserved: 28, rest: 44,
        });
    }
}
