//! What the card can capture, in V4L2's structures.

use zerocopy::FromZeros;

use super::clock::Interval;
use super::refused::{Refused, invalid};
use crate::source::{Layout, PixelFormat};
use crate::wire::capture::{INPUT_TYPE_CAMERA, Input};
use crate::wire::format::{
    BUF_TYPE_VIDEO_CAPTURE, COLORSPACE_SMPTE170M, COLORSPACE_SRGB, FIELD_NONE,
    FRMIVAL_TYPE_CONTINUOUS, FRMSIZE_TYPE_STEPWISE, FmtDesc, Fract, FrmIvalEnum, FrmSizeEnum,
    PIX_FMT_PRIV_MAGIC, PixFormat, QUANTIZATION_FULL_RANGE, QUANTIZATION_LIM_RANGE, XFER_FUNC_709,
    XFER_FUNC_SRGB, YCBCR_ENC_601,
};

/// Refuses every buffer type but single-planar capture.
pub fn check_type(buffer_type: u32) -> Result<(), Refused> {
    if buffer_type == BUF_TYPE_VIDEO_CAPTURE {
        Ok(())
    } else {
        Err(invalid("the card has no buffers of that type"))
    }
}

/// The formats that a single-planar card offers.
fn offered() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL
        .into_iter()
        .filter(|format| !format.is_separate() && !format.is_compressed())
}

/// VIDIOC_ENUM_FMT.
pub fn describe(asked: &FmtDesc) -> Result<FmtDesc, Refused> {
    check_type(asked.type_.get())?;
    let format = offered()
        .nth(asked.index.get() as usize)
        .ok_or(invalid("there is no format of that number"))?;
    Ok(FmtDesc {
        index: asked.index,
        type_: asked.type_,
        description: padded(format.description()),
        pixelformat: format.fourcc().into(),
        ..FromZeros::new_zeroed()
    })
}

/// The layout nearest to what VIDIOC_S_FMT or TRY_FMT asks for: another format
/// if the card does not have that one, the nearest size it can do.
pub fn nearest(asked: &PixFormat) -> Layout {
    let format = offered()
        .find(|format| format.fourcc() == asked.pixelformat.get())
        .unwrap_or(PixelFormat::ALL[0]);
    Layout::new(format, asked.width.get(), asked.height.get())
}

/// A layout as V4L2 describes it.
pub fn pix_format(layout: &Layout) -> PixFormat {
    let quantization = match layout.format.is_full_range() {
        true => QUANTIZATION_FULL_RANGE,
        false => QUANTIZATION_LIM_RANGE,
    };
    let (colorspace, transfer, encoding) = match layout.format.is_rgb() {
        // The encoding is that of Y'CbCr, and 0 for RGB.
        true => (COLORSPACE_SRGB, XFER_FUNC_SRGB, 0),
        false => (COLORSPACE_SMPTE170M, XFER_FUNC_709, YCBCR_ENC_601),
    };
    PixFormat {
        width: layout.width.into(),
        height: layout.height.into(),
        pixelformat: layout.format.fourcc().into(),
        field: FIELD_NONE.into(),
        bytesperline: layout.bytesperline.into(),
        sizeimage: layout.sizeimage.into(),
        colorspace: colorspace.into(),
        priv_: PIX_FMT_PRIV_MAGIC.into(),
        flags: 0.into(),
        ycbcr_enc: encoding.into(),
        quantization: quantization.into(),
        xfer_func: transfer.into(),
    }
}

/// VIDIOC_ENUM_FRAMESIZES: one range of sizes for every format.
pub fn frame_sizes(asked: &FrmSizeEnum) -> Result<FrmSizeEnum, Refused> {
    let step = check_enumerated(asked.index.get(), asked.pixel_format.get())?.steps();
    Ok(FrmSizeEnum {
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
    })
}

/// VIDIOC_ENUM_FRAMEINTERVALS: the same intervals for every size, from
/// `shortest` on.
pub fn frame_intervals(asked: &FrmIvalEnum, shortest: Interval) -> Result<FrmIvalEnum, Refused> {
    let format = check_enumerated(asked.index.get(), asked.pixel_format.get())?;
    if !Layout::has_size(format, asked.width.get(), asked.height.get()) {
        return Err(invalid("the card has no frames of that size"));
    }
    Ok(FrmIvalEnum {
        index: asked.index,
        pixel_format: asked.pixel_format,
        width: asked.width,
        height: asked.height,
        type_: FRMIVAL_TYPE_CONTINUOUS.into(),
        min: fraction(shortest),
        max: fraction(Interval::MAX),
        step: Fract::new(1, 1),
        ..FromZeros::new_zeroed()
    })
}

/// VIDIOC_ENUMINPUT: the card has one input.
pub fn input(asked: &Input) -> Result<Input, Refused> {
    check_input(asked.index.get())?;
    Ok(Input {
        index: asked.index,
        name: padded("Pinhole"),
        type_: INPUT_TYPE_CAMERA.into(),
        ..FromZeros::new_zeroed()
    })
}

/// Refuses inputs that the card does not have.
pub fn check_input(index: u32) -> Result<(), Refused> {
    if index == 0 {
        Ok(())
    } else {
        Err(invalid("there is no input of that number"))
    }
}

/// An interval as V4L2 writes it.
pub fn fraction(interval: Interval) -> Fract {
    Fract::new(interval.numerator, interval.denominator)
}

/// `text` in a field that is filled up with NULs; what does not fit is cut
/// off.
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let length = text.len().min(N - 1);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    field
}

fn check_enumerated(index: u32, pixel_format: u32) -> Result<PixelFormat, Refused> {
    let format = offered()
        .find(|format| format.fourcc() == pixel_format)
        .ok_or(invalid("the card has no such format"))?;
    if index != 0 {
        return Err(invalid("there is one range only"));
    }
    Ok(format)
}
