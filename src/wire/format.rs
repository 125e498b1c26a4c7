//! Formats, frame sizes and frame intervals.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// V4L2_BUF_TYPE_VIDEO_CAPTURE.
pub const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
/// V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE.
pub const BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
/// V4L2_BUF_TYPE_VIDEO_OUTPUT.
pub const BUF_TYPE_VIDEO_OUTPUT: u32 = 2;
/// V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE.
pub const BUF_TYPE_VIDEO_OUTPUT_MPLANE: u32 = 10;
/// V4L2_FMT_FLAG_COMPRESSED.
pub const FMT_FLAG_COMPRESSED: u32 = 1;
/// V4L2_FIELD_NONE: frames are progressive.
pub const FIELD_NONE: u32 = 1;
/// V4L2_PIX_FMT_PRIV_MAGIC: the fields of `v4l2_pix_format` after `priv` are
/// valid.
pub const PIX_FMT_PRIV_MAGIC: u32 = 0xfeed_cafe;
/// V4L2_COLORSPACE_SMPTE170M: BT.601.
pub const COLORSPACE_SMPTE170M: u32 = 1;
/// V4L2_COLORSPACE_JPEG: sRGB with the Y'CbCr encoding of BT.601 in full
/// range.
pub const COLORSPACE_JPEG: u32 = 7;
/// V4L2_COLORSPACE_SRGB.
pub const COLORSPACE_SRGB: u32 = 8;
/// V4L2_XFER_FUNC_709: the transfer function of SMPTE 170M.
pub const XFER_FUNC_709: u32 = 1;
/// V4L2_XFER_FUNC_SRGB.
pub const XFER_FUNC_SRGB: u32 = 2;
/// V4L2_YCBCR_ENC_601.
pub const YCBCR_ENC_601: u32 = 1;
/// V4L2_QUANTIZATION_FULL_RANGE.
pub const QUANTIZATION_FULL_RANGE: u32 = 1;
/// V4L2_QUANTIZATION_LIM_RANGE.
pub const QUANTIZATION_LIM_RANGE: u32 = 2;
/// V4L2_FRMSIZE_TYPE_DISCRETE: one size. Its width and height lie where a range
/// has its least and greatest width.
pub const FRMSIZE_TYPE_DISCRETE: u32 = 1;
/// V4L2_FRMSIZE_TYPE_STEPWISE.
pub const FRMSIZE_TYPE_STEPWISE: u32 = 3;
/// V4L2_FRMIVAL_TYPE_DISCRETE: one interval. It lies where a range has its
/// shortest interval.
pub const FRMIVAL_TYPE_DISCRETE: u32 = 1;
/// V4L2_FRMIVAL_TYPE_CONTINUOUS.
pub const FRMIVAL_TYPE_CONTINUOUS: u32 = 2;

/// `struct v4l2_fmtdesc`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FmtDesc {
    /// Index of the format.
    pub index: U32,
    /// Buffer type.
    pub type_: U32,
    /// V4L2_FMT_FLAG_*.
    pub flags: U32,
    /// Name, NUL-terminated.
    pub description: [u8; 32],
    /// Four-character code of the format.
    pub pixelformat: U32,
    /// Media bus code to enumerate for; unused without a media controller.
    pub mbus_code: U32,
    /// Reserved.
    pub reserved: [U32; 3],
}

/// `struct v4l2_pix_format`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PixFormat {
    /// Pixels per line.
    pub width: U32,
    /// Lines.
    pub height: U32,
    /// Four-character code of the format.
    pub pixelformat: U32,
    /// V4L2_FIELD_*.
    pub field: U32,
    /// Bytes from one line to the next.
    pub bytesperline: U32,
    /// Bytes of a frame.
    pub sizeimage: U32,
    /// V4L2_COLORSPACE_*.
    pub colorspace: U32,
    /// [`PIX_FMT_PRIV_MAGIC`] if the fields after this one are valid.
    pub priv_: U32,
    /// V4L2_PIX_FMT_FLAG_*.
    pub flags: U32,
    /// V4L2_YCBCR_ENC_*.
    pub ycbcr_enc: U32,
    /// V4L2_QUANTIZATION_*.
    pub quantization: U32,
    /// V4L2_XFER_FUNC_*.
    pub xfer_func: U32,
}

/// `struct v4l2_format` with its union as `pix`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Format {
    /// Buffer type.
    pub type_: U32,
    /// Aligns the union, which holds pointers in another of its forms.
    pub padding: U32,
    /// Single-planar format.
    pub pix: PixFormat,
    /// The bytes of the union that `pix` does not use.
    pub rest: [u8; 152],
}

impl Format {
    /// Returns a single-planar capture format.
    pub fn capture(pix: PixFormat) -> Self {
        Self::of(BUF_TYPE_VIDEO_CAPTURE, pix)
    }

    /// Returns a format of that single-planar buffer type.
    pub fn of(buffer_type: u32, pix: PixFormat) -> Self {
        Self {
            type_: buffer_type.into(),
            padding: U32::ZERO,
            pix,
            rest: FromZeros::new_zeroed(),
        }
    }
}

/// `struct v4l2_plane_pix_format`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PlanePixFormat {
    /// Bytes of the plane.
    pub sizeimage: U32,
    /// Bytes from one line to the next.
    pub bytesperline: U32,
    /// Reserved.
    pub reserved: [U16; 6],
}

/// `struct v4l2_pix_format_mplane`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PixFormatMplane {
    /// Pixels per line.
    pub width: U32,
    /// Lines.
    pub height: U32,
    /// Four-character code of the format.
    pub pixelformat: U32,
    /// V4L2_FIELD_*.
    pub field: U32,
    /// V4L2_COLORSPACE_*.
    pub colorspace: U32,
    /// The planes; the first `num_planes` are valid.
    pub plane_fmt: [PlanePixFormat; 8],
    /// Number of planes.
    pub num_planes: u8,
    /// V4L2_PIX_FMT_FLAG_*.
    pub flags: u8,
    /// V4L2_YCBCR_ENC_*.
    pub ycbcr_enc: u8,
    /// V4L2_QUANTIZATION_*.
    pub quantization: u8,
    /// V4L2_XFER_FUNC_*.
    pub xfer_func: u8,
    /// Reserved.
    pub reserved: [u8; 7],
}

/// `struct v4l2_format` with its union as `pix_mp`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FormatMplane {
    /// Buffer type.
    pub type_: U32,
    /// Aligns the union, which holds pointers in another of its forms.
    pub padding: U32,
    /// Multi-planar format.
    pub pix_mp: PixFormatMplane,
    /// The bytes of the union that `pix_mp` does not use.
    pub rest: [u8; 8],
}

impl FormatMplane {
    /// Returns a format of that multi-planar buffer type.
    pub fn of(buffer_type: u32, pix_mp: PixFormatMplane) -> Self {
        Self {
            type_: buffer_type.into(),
            padding: U32::ZERO,
            pix_mp,
            rest: FromZeros::new_zeroed(),
        }
    }
}

/// `struct v4l2_frmsizeenum` with its union as `stepwise`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrmSizeEnum {
    /// Index of the range of sizes.
    pub index: U32,
    /// Four-character code of the format.
    pub pixel_format: U32,
    /// V4L2_FRMSIZE_TYPE_*.
    pub type_: U32,
    /// Least width.
    pub min_width: U32,
    /// Greatest width.
    pub max_width: U32,
    /// Step of the width.
    pub step_width: U32,
    /// Least height.
    pub min_height: U32,
    /// Greatest height.
    pub max_height: U32,
    /// Step of the height.
    pub step_height: U32,
    /// Reserved.
    pub reserved: [U32; 2],
}

impl FrmSizeEnum {
    /// Returns the width and height of a size of V4L2_FRMSIZE_TYPE_DISCRETE, which are
    /// the first two numbers of the union.
    pub fn discrete(&self) -> (u32, u32) {
        (self.min_width.get(), self.max_width.get())
    }
}

/// `struct v4l2_fract`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Fract {
    /// Numerator.
    pub numerator: U32,
    /// Denominator.
    pub denominator: U32,
}

impl Fract {
    /// Returns the fraction `numerator / denominator`.
    pub const fn new(numerator: u32, denominator: u32) -> Self {
        Self {
            numerator: U32::new(numerator),
            denominator: U32::new(denominator),
        }
    }
}

/// `struct v4l2_frmivalenum` with its union as `stepwise`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrmIvalEnum {
    /// Index of the range of intervals.
    pub index: U32,
    /// Four-character code of the format.
    pub pixel_format: U32,
    /// Pixels per line.
    pub width: U32,
    /// Lines.
    pub height: U32,
    /// V4L2_FRMIVAL_TYPE_*.
    pub type_: U32,
    /// Shortest interval, in seconds.
    pub min: Fract,
    /// Longest interval, in seconds.
    pub max: Fract,
    /// Step between intervals, in seconds.
    pub step: Fract,
    /// Reserved.
    pub reserved: [U32; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::assert_layout;

    #[test]
    fn layouts() {
        assert_layout!(FmtDesc, 64, {
            index: 0, type_: 4, flags: 8, description: 12, pixelformat: 44, mbus_code: 48,
            reserved: 52,
        });
        assert_layout!(PixFormat, 48, {
            width: 0, height: 4, pixelformat: 8, field: 12, bytesperline: 16, sizeimage: 20,
            colorspace: 24, priv_: 28, flags: 32, ycbcr_enc: 36, quantization: 40, xfer_func: 44,
        });
        assert_layout!(Format, 208, { type_: 0, pix: 8, rest: 56 });
        assert_layout!(PlanePixFormat, 20, { sizeimage: 0, bytesperline: 4, reserved: 8 });
        assert_layout!(PixFormatMplane, 192, {
            width: 0, height: 4, pixelformat: 8, field: 12, colorspace: 16, plane_fmt: 20,
            num_planes: 180, flags: 181, ycbcr_enc: 182, quantization: 183, xfer_func: 184,
            reserved: 185,
        });
        assert_layout!(FormatMplane, 208, { type_: 0, pix_mp: 8, rest: 200 });
        assert_layout!(FrmSizeEnum, 44, {
            index: 0, pixel_format: 4, type_: 8, min_width: 12, max_width: 16, step_width: 20,
            min_height: 24, max_height: 28, step_height: 32, reserved: 36,
        });
        assert_layout!(Fract, 8, { numerator: 0, denominator: 4 });
        assert_layout!(FrmIvalEnum, 52, {
            index: 0, pixel_format: 4, width: 8, height: 12, type_: 16, min: 20, max: 28,
            step: 36, reserved: 44,
        });
    }
}
