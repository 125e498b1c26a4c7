//! Inputs, and streaming parameters of both directions.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::format::Fract;

/// V4L2_INPUT_TYPE_CAMERA: any input that is not a tuner.
pub const INPUT_TYPE_CAMERA: u32 = 2;
/// V4L2_IN_ST_NO_SIGNAL.
pub const IN_ST_NO_SIGNAL: u32 = 2;
/// V4L2_CAP_TIMEPERFRAME: the frame interval can be set.
pub const CAP_TIMEPERFRAME: u32 = 0x1000;

/// `struct v4l2_input`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Input {
    /// Index of the input.
    pub index: U32,
    /// Name, NUL-terminated.
    pub name: [u8; 32],
    /// V4L2_INPUT_TYPE_*.
    pub type_: U32,
    /// Audio inputs.
    pub audioset: U32,
    /// Tuner.
    pub tuner: U32,
    /// Television standards.
    pub std: U64,
    /// V4L2_IN_ST_*; 0 means a good signal.
    pub status: U32,
    /// V4L2_IN_CAP_*.
    pub capabilities: U32,
    /// Reserved.
    pub reserved: [U32; 3],
    /// Fills the structure up to its alignment.
    pub tail: U32,
}

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
        assert_layout!(Input, 80, {
            index: 0, name: 4, type_: 36, audioset: 40, tuner: 44, std: 48, status: 56,
            capabilities: 60, reserved: 64,
        });
        assert_layout!(StreamParm, 204, {
            type_: 0, capability: 4, capturemode: 8, timeperframe: 12, extendedmode: 20,
            readbuffers: 24, reserved: 28, rest: 44,
        });
    }
}
