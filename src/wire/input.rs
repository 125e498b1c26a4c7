//! Inputs.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_INPUT_TYPE_CAMERA: any input that is not a tuner.
pub const INPUT_TYPE_CAMERA: u32 = 2;
/// V4L2_IN_ST_NO_SIGNAL.
pub const IN_ST_NO_SIGNAL: u32 = 2;
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
    }
}
