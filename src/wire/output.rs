//! Outputs.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_OUTPUT_TYPE_ANALOG: any output that is not a modulator.
pub const OUTPUT_TYPE_ANALOG: u32 = 2;

/// `struct v4l2_output`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Output {
    /// Index of the output.
    pub index: U32,
    /// Name, NUL-terminated.
    pub name: [u8; 32],
    /// V4L2_OUTPUT_TYPE_*.
    pub type_: U32,
    /// Audio outputs.
    pub audioset: U32,
    /// Modulator.
    pub modulator: U32,
    /// Television standards.
    pub std: U64,
    /// V4L2_OUT_CAP_*.
    pub capabilities: U32,
    /// Reserved.
    pub reserved: [U32; 3],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(Output, 72, {
            index: 0, name: 4, type_: 36, audioset: 40, modulator: 44, std: 48, capabilities: 56,
            reserved: 60,
        });
    }
}
