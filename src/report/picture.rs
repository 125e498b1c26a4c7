//! Frames as pictures for a person.

pub mod contact_sheet;

use image::RgbImage;
use yuv::{
    YuvBiPlanarImage, YuvConversionMode, YuvError, YuvPackedImage, YuvPlanarImage, YuvRange,
    YuvStandardMatrix,
};

use crate::source::layout::PlaneLayout;
use crate::source::{Layout, PixelFormat};

pub use contact_sheet::{ContactSheet, Verdict};

/// Why a frame cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Strides or sizes that do not go together.
    #[error("a frame of {}x{} {} cannot be shown: {source}", layout.width, layout.height, layout.format)]
    Conversion {
        /// The frame's layout.
        layout: Layout,
        /// What the converter says.
        source: YuvError,
    },
    /// A frame that is no JPEG.
    #[error("a frame of {}x{} {} cannot be shown: {source}", layout.width, layout.height, layout.format)]
    Jpeg {
        /// The frame's layout.
        layout: Layout,
        /// What the decoder says.
        source: image::ImageError,
    },
}

/// The picture in the bytes of a frame.
///
/// Y'CbCr is taken for that of BT.601 in limited range, as the card makes it;
/// RGB and grey as they are. Where the frame is too short, what is missing is
/// taken for zeros; what is too much is left out.
///
/// # Errors
///
/// Where the layout is none that [`Layout::new`] makes.
pub fn to_rgb(frame: &[u8], layout: &Layout) -> Result<RgbImage, PictureError> {
    let wanted = layout.sizeimage as usize;
    let padded: Vec<u8>;
    let frame = match frame.get(..wanted) {
        Some(frame) => frame,
        None => {
            let mut bytes = frame.to_vec();
            bytes.resize(wanted, 0);
            padded = bytes;
            &padded
        }
    };
    let (width, height) = (layout.width, layout.height);
    let mut picture = RgbImage::new(width, height);
    let (rgb, rgb_stride): (&mut [u8], u32) = (&mut picture, width * 3);
    let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
    let packed = || YuvPackedImage {
        yuy: frame,
        yuy_stride: layout.bytesperline,
        width,
        height,
    };
    // Of a colour plane, its bytes and stride.
    let plane = |number| {
        let plane = layout.planes().nth(number);
        plane.map_or((&[][..], 0), |plane: PlaneLayout| {
            let end = plane.offset + plane.stride * plane.lines;
            (&frame[plane.offset..end], plane.stride as u32)
        })
    };
    let two_planes = || {
        let ((y_plane, y_stride), (uv_plane, uv_stride)) = (plane(0), plane(1));
        YuvBiPlanarImage {
            y_plane,
            y_stride,
            uv_plane,
            uv_stride,
            width,
            height,
        }
    };
    let three_planes = |u, v| {
        let ((y_plane, y_stride), (u_plane, u_stride), (v_plane, v_stride)) =
            (plane(0), plane(u), plane(v));
        YuvPlanarImage {
            y_plane,
            y_stride,
            u_plane,
            u_stride,
            v_plane,
            v_stride,
            width,
            height,
        }
    };
    let mode = YuvConversionMode::Balanced;
    use PixelFormat::*;
    let done = match layout.format {
        Yuyv => yuv::yuyv422_to_rgb(&packed(), rgb, rgb_stride, range, matrix),
        Uyvy => yuv::uyvy422_to_rgb(&packed(), rgb, rgb_stride, range, matrix),
        Yvyu => yuv::yvyu422_to_rgb(&packed(), rgb, rgb_stride, range, matrix),
        Vyuy => yuv::vyuy422_to_rgb(&packed(), rgb, rgb_stride, range, matrix),
        Nv12 | Nm12 => yuv::yuv_nv12_to_rgb(&two_planes(), rgb, rgb_stride, range, matrix, mode),
        Nv21 => yuv::yuv_nv21_to_rgb(&two_planes(), rgb, rgb_stride, range, matrix, mode),
        Nv16 | Nm16 => yuv::yuv_nv16_to_rgb(&two_planes(), rgb, rgb_stride, range, matrix, mode),
        Yu12 | Ym12 => yuv::yuv420_to_rgb(&three_planes(1, 2), rgb, rgb_stride, range, matrix),
        Yv12 => yuv::yuv420_to_rgb(&three_planes(2, 1), rgb, rgb_stride, range, matrix),
        P422 => yuv::yuv422_to_rgb(&three_planes(1, 2), rgb, rgb_stride, range, matrix),
        Rgb3 => {
            rgb.copy_from_slice(frame);
            Ok(())
        }
        Bgr3 => each_pixel(rgb, frame, |[b, g, r]| [r, g, b]),
        Xr24 => each_pixel(rgb, frame, |[b, g, r, _]| [r, g, b]),
        Bx24 => each_pixel(rgb, frame, |[_, r, g, b]| [r, g, b]),
        Rgbp => each_pixel(rgb, frame, |word| {
            let word = u16::from_le_bytes(word);
            // Five or six bits spread over eight.
            let (r, g, b) = (word >> 11, word >> 5 & 63, word & 31);
            [r << 3 | r >> 2, g << 2 | g >> 4, b << 3 | b >> 2].map(|level| level as u8)
        }),
        Grey => each_pixel(rgb, frame, |[level]| [level; 3]),
        Y16 => each_pixel(rgb, frame, |[_, level]| [level; 3]),
        Mjpg => match image::load_from_memory(frame) {
            Ok(decoded) => return Ok(decoded.into_rgb8()),
            Err(source) => {
                return Err(PictureError::Jpeg {
                    layout: *layout,
                    source,
                });
            }
        },
    };
    match done {
        Ok(()) => Ok(picture),
        Err(source) => Err(PictureError::Conversion {
            layout: *layout,
            source,
        }),
    }
}

/// Turns every pixel of `frame` into red, green and blue.
fn each_pixel<const N: usize>(
    rgb: &mut [u8],
    frame: &[u8],
    convert: impl Fn([u8; N]) -> [u8; 3],
) -> Result<(), YuvError> {
    let ((into, _), (from, _)) = (rgb.as_chunks_mut(), frame.as_chunks());
    for (into, from) in into.iter_mut().zip(from) {
        *into = convert(*from);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{FrameInfo, Pattern, Source};

    /// The formats that patterns draw.
    pub(super) fn drawn() -> impl Iterator<Item = PixelFormat> {
        PixelFormat::ALL.into_iter().filter(|f| !f.is_compressed())
    }

    /// The first frame of the test card.
    pub(super) fn card(layout: &Layout) -> Vec<u8> {
        let mut frame = vec![0; layout.sizeimage as usize];
        let mut pattern = Pattern::default();
        pattern.prepare(layout);
        let _ = pattern.begin(&FrameInfo::default());
        for plane in layout.memory_planes() {
            let mut offset = plane.offset as usize;
            let bytes = &mut frame[offset..][..plane.sizeimage as usize];
            for block in bytes.chunks_mut(4096) {
                pattern.fill(offset, block);
                offset += block.len();
            }
        }
        frame
    }

    #[test]
    fn the_bars_come_back_in_their_colours() {
        for format in drawn() {
            let layout = Layout::new(format, 640, 480);
            let picture = to_rgb(&card(&layout), &layout).unwrap();
            for (x, colour) in [
                (40, [191, 191, 191]),
                (130, [191, 191, 0]),
                (600, [0, 0, 191]),
            ] {
                let expected = match format {
                    PixelFormat::Grey | PixelFormat::Y16 => {
                        let luma = 0.299 * f64::from(colour[0])
                            + 0.587 * f64::from(colour[1])
                            + 0.114 * f64::from(colour[2]);
                        [luma.round() as u8; 3]
                    }
                    _ => colour,
                };
                let got = picture.get_pixel(x, 20).0;
                let near = got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3);
                assert!(near, "{format} at {x}: {got:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_length_is_shown_all_the_same() {
        for format in drawn() {
            let layout = Layout::new(format, 18, 22);
            let mut frame = card(&layout);
            let whole = to_rgb(&frame, &layout).unwrap();
            frame.extend_from_slice(&[1; 10]);
            assert_eq!(to_rgb(&frame, &layout).unwrap(), whole);
            assert_eq!(to_rgb(&[], &layout).unwrap().dimensions(), (18, 22));
        }
    }
}
