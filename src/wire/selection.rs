//! Cropping and composing.

use zerocopy::little_endian::{I32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_SEL_TGT_CROP: the part of the source's picture that is captured.
pub const SEL_TGT_CROP: u32 = 0x0000;
/// V4L2_SEL_TGT_CROP_DEFAULT.
pub const SEL_TGT_CROP_DEFAULT: u32 = 0x0001;
/// V4L2_SEL_TGT_CROP_BOUNDS.
pub const SEL_TGT_CROP_BOUNDS: u32 = 0x0002;
/// V4L2_SEL_TGT_COMPOSE: the area of the buffer that the picture fills.
pub const SEL_TGT_COMPOSE: u32 = 0x0100;
/// V4L2_SEL_TGT_COMPOSE_DEFAULT.
pub const SEL_TGT_COMPOSE_DEFAULT: u32 = 0x0101;
/// V4L2_SEL_TGT_COMPOSE_BOUNDS.
pub const SEL_TGT_COMPOSE_BOUNDS: u32 = 0x0102;
/// V4L2_SEL_TGT_COMPOSE_PADDED.
pub const SEL_TGT_COMPOSE_PADDED: u32 = 0x0103;

/// V4L2_SEL_FLAG_GE: the rectangle must not be smaller than requested.
pub const SEL_FLAG_GE: u32 = 1;
/// V4L2_SEL_FLAG_LE: the rectangle must not be larger than requested.
pub const SEL_FLAG_LE: u32 = 2;

/// `struct v4l2_rect`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Rect {
    /// First column.
    pub left: I32,
    /// First line.
    pub top: I32,
    /// Columns.
    pub width: U32,
    /// Lines.
    pub height: U32,
}

/// `struct v4l2_selection`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Selection {
    /// Buffer type.
    pub type_: U32,
    /// V4L2_SEL_TGT_*.
    pub target: U32,
    /// V4L2_SEL_FLAG_*.
    pub flags: U32,
    /// The rectangle.
    pub r: Rect,
    /// Reserved.
    pub reserved: [U32; 9],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(Rect, 16, { left: 0, top: 4, width: 8, height: 12 });
        assert_layout!(Selection, 64, { type_: 0, target: 4, flags: 8, r: 12, reserved: 28 });
    }
}
