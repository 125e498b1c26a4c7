//! The card's formats, frame sizes and intervals, in V4L2's structures.

use zerocopy::{FromBytes, FromZeros};

use super::Card;
use super::clock::Interval;
use super::kind::{BufferApi, BufferType};
use super::refused::{Refused, invalid};
use crate::source::{Layout, PixelFormat};
use crate::wire::Reply;
use crate::wire::format::{
    COLORSPACE_JPEG, COLORSPACE_SMPTE170M, COLORSPACE_SRGB, FIELD_NONE, FMT_FLAG_COMPRESSED,
    FRMIVAL_TYPE_CONTINUOUS, FRMIVAL_TYPE_DISCRETE, FRMSIZE_TYPE_DISCRETE, FRMSIZE_TYPE_STEPWISE,
    FmtDesc, Format, FormatMplane, Fract, FrmIvalEnum, FrmSizeEnum, PIX_FMT_PRIV_MAGIC, PixFormat,
    PixFormatMplane, QUANTIZATION_FULL_RANGE, QUANTIZATION_LIM_RANGE, XFER_FUNC_709,
    XFER_FUNC_SRGB, YCBCR_ENC_601,
};
use crate::wire::request::Truncated;

/// The V4L2 colorimetry of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colorimetry {
    /// V4L2_COLORSPACE_*.
    pub colorspace: u32,
    /// V4L2_XFER_FUNC_*.
    pub transfer: u32,
    /// V4L2_YCBCR_ENC_*; 0 for a format without Y'CbCr.
    pub encoding: u32,
    /// V4L2_QUANTIZATION_*.
    pub quantization: u32,
}

impl Colorimetry {
    /// Returns this colorimetry, with what it leaves to the card (0) taken from
    /// `other`.
    pub fn or(self, other: Self) -> Self {
        let or = |one: u32, other: u32| if one == 0 { other } else { one };
        Self {
            colorspace: or(self.colorspace, other.colorspace),
            transfer: or(self.transfer, other.transfer),
            encoding: or(self.encoding, other.encoding),
            quantization: or(self.quantization, other.quantization),
        }
    }
}

/// Returns the colorimetry of the frames that the card makes in that format.
pub fn colorimetry(format: PixelFormat) -> Colorimetry {
    let quantization = match format.is_full_range() {
        true => QUANTIZATION_FULL_RANGE,
        false => QUANTIZATION_LIM_RANGE,
    };
    if format.is_compressed() {
        // These are the defaults of V4L2_COLORSPACE_JPEG, which is JFIF.
        Colorimetry {
            colorspace: COLORSPACE_JPEG,
            transfer: XFER_FUNC_SRGB,
            encoding: YCBCR_ENC_601,
            quantization: QUANTIZATION_FULL_RANGE,
        }
    } else if format.is_rgb() {
        Colorimetry {
            colorspace: COLORSPACE_SRGB,
            transfer: XFER_FUNC_SRGB,
            encoding: 0,
            quantization,
        }
    } else {
        Colorimetry {
            colorspace: COLORSPACE_SMPTE170M,
            transfer: XFER_FUNC_709,
            encoding: YCBCR_ENC_601,
            quantization,
        }
    }
}

/// Returns a layout in the structure of V4L2's single-planar API.
pub fn pix_format(layout: &Layout, colors: Colorimetry) -> PixFormat {
    PixFormat {
        width: layout.width.into(),
        height: layout.height.into(),
        pixelformat: layout.format.fourcc().into(),
        field: FIELD_NONE.into(),
        bytesperline: layout.bytesperline.into(),
        sizeimage: layout.sizeimage.into(),
        colorspace: colors.colorspace.into(),
        priv_: PIX_FMT_PRIV_MAGIC.into(),
        flags: 0.into(),
        ycbcr_enc: colors.encoding.into(),
        quantization: colors.quantization.into(),
        xfer_func: colors.transfer.into(),
    }
}

/// Returns a layout in the structure of V4L2's multi-planar API.
pub fn pix_format_mplane(layout: &Layout, colors: Colorimetry) -> PixFormatMplane {
    let planes = layout.memory_planes();
    // V4L2's enumeration values and the number of planes all fit in a byte.
    let mut pix = PixFormatMplane {
        width: layout.width.into(),
        height: layout.height.into(),
        pixelformat: layout.format.fourcc().into(),
        field: FIELD_NONE.into(),
        colorspace: colors.colorspace.into(),
        num_planes: planes.len() as u8,
        ycbcr_enc: colors.encoding as u8,
        quantization: colors.quantization as u8,
        xfer_func: colors.transfer as u8,
        ..FromZeros::new_zeroed()
    };
    for (place, plane) in pix.plane_fmt.iter_mut().zip(planes) {
        place.sizeimage = plane.sizeimage.into();
        place.bytesperline = plane.bytesperline.into();
    }
    pix
}

/// What a `v4l2_format` of either of V4L2's APIs asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedFormat {
    /// V4L2_BUF_TYPE_*.
    pub type_: u32,
    /// Four-character code.
    pub fourcc: u32,
    /// Pixels per line.
    pub width: u32,
    /// Lines per frame.
    pub height: u32,
    /// How the application's pictures are to be seen.
    pub colors: Colorimetry,
}

impl AskedFormat {
    /// Reads the structure at the start of a payload.
    pub fn read(api: BufferApi, payload: &[u8]) -> Result<Self, Refused> {
        Ok(match api {
            BufferApi::Single => {
                let (Format { type_, pix, .. }, _) =
                    Format::ref_from_prefix(payload).map_err(|_| Truncated)?;
                Self {
                    type_: type_.get(),
                    fourcc: pix.pixelformat.get(),
                    width: pix.width.get(),
                    height: pix.height.get(),
                    colors: Colorimetry {
                        colorspace: pix.colorspace.get(),
                        transfer: pix.xfer_func.get(),
                        encoding: pix.ycbcr_enc.get(),
                        quantization: pix.quantization.get(),
                    },
                }
            }
            BufferApi::Multi => {
                let (FormatMplane { type_, pix_mp, .. }, _) =
                    FormatMplane::ref_from_prefix(payload).map_err(|_| Truncated)?;
                Self {
                    type_: type_.get(),
                    fourcc: pix_mp.pixelformat.get(),
                    width: pix_mp.width.get(),
                    height: pix_mp.height.get(),
                    colors: Colorimetry {
                        colorspace: pix_mp.colorspace.get(),
                        transfer: pix_mp.xfer_func.into(),
                        encoding: pix_mp.ycbcr_enc.into(),
                        quantization: pix_mp.quantization.into(),
                    },
                }
            }
        })
    }
}

/// Answers with the `v4l2_format` of buffers of that type.
pub fn answer(type_: BufferType, layout: &Layout, colors: Colorimetry, reply: &mut Reply) {
    let number = type_.number();
    match type_.api {
        BufferApi::Single => reply.succeed(&Format::of(number, pix_format(layout, colors))),
        BufferApi::Multi => {
            reply.succeed(&FormatMplane::of(number, pix_format_mplane(layout, colors)));
        }
    }
}

/// Returns the format of `formats` whose number VIDIOC_ENUM_FMT asks for.
pub fn enumerated(
    asked: &FmtDesc,
    mut formats: impl Iterator<Item = PixelFormat>,
) -> Result<FmtDesc, Refused> {
    let format = formats
        .nth(asked.index.get() as usize)
        .ok_or(invalid("there is no format of that number"))?;
    Ok(FmtDesc {
        index: asked.index,
        type_: asked.type_,
        flags: match format.is_compressed() {
            true => FMT_FLAG_COMPRESSED,
            false => 0,
        }
        .into(),
        description: padded(format.description()),
        pixelformat: format.fourcc().into(),
        ..FromZeros::new_zeroed()
    })
}

/// Returns the range of all sizes of a format, for VIDIOC_ENUM_FRAMESIZES.
pub fn every_size(asked: &FrmSizeEnum, format: PixelFormat) -> FrmSizeEnum {
    let step = format.steps();
    FrmSizeEnum {
        index: asked.index,
        pixel_format: asked.pixel_format,
        type_: FRMSIZE_TYPE_STEPWISE.into(),
        min_width: Layout::MIN_WIDTH.into(),
        max_width: Layout::MAX_WIDTH.into(),
        step_width: step.0.into(),
        min_height: Layout::MIN_HEIGHT.into(),
        max_height: Layout::MAX_HEIGHT.into(),
        step_height: step.1.into(),
        ..FromZeros::new_zeroed()
    }
}

/// Returns the size of a format that is nearest to that one, for
/// VIDIOC_ENUM_FRAMESIZES.
pub fn one_size(asked: &FrmSizeEnum, format: PixelFormat, size: (u32, u32)) -> FrmSizeEnum {
    let layout = Layout::new(format, size.0, size.1);
    FrmSizeEnum {
        index: asked.index,
        pixel_format: asked.pixel_format,
        type_: FRMSIZE_TYPE_DISCRETE.into(),
        min_width: layout.width.into(),
        max_width: layout.height.into(),
        ..FromZeros::new_zeroed()
    }
}

impl Card {
    /// Returns the formats that the card has, in the order of their enumeration.
    /// There is one at least.
    pub(super) fn formats(&self) -> impl Iterator<Item = PixelFormat> {
        let formats = self.planes.formats();
        formats.filter(|format| self.endpoint.takes(*format))
    }

    /// Returns the format with that four-character code, if the card has it.
    pub(super) fn format(&self, fourcc: u32) -> Option<PixelFormat> {
        self.formats().find(|format| format.fourcc() == fourcc)
    }

    /// Returns the card's first format.
    pub(super) fn first_format(&self) -> PixelFormat {
        self.formats().next().unwrap_or(PixelFormat::ALL[0])
    }

    /// VIDIOC_ENUM_FMT.
    pub(super) fn enum_format(&self, asked: &FmtDesc) -> Result<FmtDesc, Refused> {
        self.buffer_type().check(asked.type_.get())?;
        enumerated(asked, self.formats())
    }

    /// VIDIOC_ENUM_FRAMESIZES: one range of sizes for every format, or the
    /// sizes of the card's list, or the one size that the source dictates.
    pub(super) fn frame_sizes(&self, asked: &FrmSizeEnum) -> Result<FrmSizeEnum, Refused> {
        let dictated = self.dictated_size();
        let list = match &dictated {
            Some(size) => std::slice::from_ref(size),
            None => self.modes.sizes(),
        };
        let (format, place) =
            self.listed(asked.index.get(), asked.pixel_format.get(), list.len())?;
        Ok(match list.get(place) {
            Some(size) => one_size(asked, format, *size),
            None => every_size(asked, format),
        })
    }

    /// VIDIOC_ENUM_FRAMEINTERVALS: the same intervals for every size, or those
    /// of the card's list, or the one that the source dictates.
    pub(super) fn frame_intervals(&self, asked: &FrmIvalEnum) -> Result<FrmIvalEnum, Refused> {
        let dictated = self.dictated_interval();
        let list = match &dictated {
            Some(interval) => std::slice::from_ref(interval),
            None => self.modes.intervals(),
        };
        let (format, place) =
            self.listed(asked.index.get(), asked.pixel_format.get(), list.len())?;
        let (width, height) = (asked.width.get(), asked.height.get());
        let layout = self.layout_for(format, width, height);
        if (layout.width, layout.height) != (width, height) {
            return Err(invalid("the card has no frames of that size"));
        }
        let answer = FrmIvalEnum {
            index: asked.index,
            pixel_format: asked.pixel_format,
            width: asked.width,
            height: asked.height,
            ..FromZeros::new_zeroed()
        };
        Ok(match list.get(place) {
            Some(interval) => FrmIvalEnum {
                type_: FRMIVAL_TYPE_DISCRETE.into(),
                min: fraction(*interval),
                ..answer
            },
            None => FrmIvalEnum {
                type_: FRMIVAL_TYPE_CONTINUOUS.into(),
                min: fraction(self.shortest),
                max: fraction(Interval::MAX),
                step: Fract::new(1, 1),
                ..answer
            },
        })
    }

    /// Returns the format, and the position in a list of `length` entries. An
    /// empty list stands for one range, at position 0.
    fn listed(
        &self,
        index: u32,
        pixel_format: u32,
        length: usize,
    ) -> Result<(PixelFormat, usize), Refused> {
        let format = self.format(pixel_format);
        let format = format.ok_or(invalid("the card has no such format"))?;
        let place = index as usize;
        if place >= length.max(1) {
            return Err(invalid("there are no more of them"));
        }
        Ok((format, place))
    }
}

/// Returns an interval as V4L2's fraction.
pub fn fraction(interval: Interval) -> Fract {
    Fract::new(interval.numerator, interval.denominator)
}

/// Returns `text` in a field padded with NULs. Text that does not fit is cut
/// off at the end of a character, and the last byte is always NUL.
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let mut length = text.len().min(N - 1);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_ends_with_a_whole_character() {
        assert_eq!(padded::<8>("bars"), *b"bars\0\0\0\0");
        assert_eq!(padded::<8>("checkers"), *b"checker\0");
        // The last character that begins within the field would need one byte
        // more, or two.
        assert_eq!(padded::<8>("abcdef\u{e4}"), *b"abcdef\0\0");
        assert_eq!(padded::<8>("abcde\u{20ac}"), *b"abcde\0\0\0");
        assert_eq!(padded::<8>("abcd\u{20ac}"), *b"abcd\xe2\x82\xac\0");
        assert_eq!(padded::<4>("\u{1f4f7}"), [0; 4]);
    }
}
