//! Frames as pictures for a person.

pub mod contact_sheet;

use image::RgbImage;
use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvRange, YuvStandardMatrix};

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
        source: yuv::YuvError,
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
    let stride = layout.bytesperline;
    let done = match layout.format {
        PixelFormat::Yuyv => {
            let packed = YuvPackedImage {
                yuy: frame,
                yuy_stride: stride,
                width,
                height,
            };
            yuv::yuyv422_to_rgb(&packed, rgb, rgb_stride, range, matrix)
        }
        PixelFormat::Nv12 => {
            let (y_plane, uv_plane) = frame.split_at((stride * height) as usize);
            let planes = YuvBiPlanarImage {
                y_plane,
                y_stride: stride,
                uv_plane,
                uv_stride: stride,
                width,
                height,
            };
            let mode = YuvConversionMode::Balanced;
            yuv::yuv_nv12_to_rgb(&planes, rgb, rgb_stride, range, matrix, mode)
        }
        PixelFormat::Rgb3 => {
            rgb.copy_from_slice(frame);
            Ok(())
        }
        PixelFormat::Grey => {
            let (pixels, _) = rgb.as_chunks_mut::<3>();
            for (pixel, level) in pixels.iter_mut().zip(frame) {
                *pixel = [*level; 3];
            }
            Ok(())
        }
    };
    match done {
        Ok(()) => Ok(picture),
        Err(source) => Err(PictureError::Conversion {
            layout: *layout,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{FrameInfo, Pattern, Source};

    /// The first frame of the test card.
    pub(super) fn card(layout: &Layout) -> Vec<u8> {
        let mut frame = vec![0; layout.sizeimage as usize];
        let mut pattern = Pattern::default();
        pattern.prepare(layout);
        pattern.begin(&FrameInfo::default());
        for (number, block) in frame.chunks_mut(4096).enumerate() {
            pattern.fill(number * 4096, block);
        }
        frame
    }

    #[test]
    fn the_bars_come_back_in_their_colours() {
        for format in PixelFormat::ALL {
            let layout = Layout::new(format, 640, 480);
            let picture = to_rgb(&card(&layout), &layout).unwrap();
            for (x, colour) in [
                (40, [191, 191, 191]),
                (130, [191, 191, 0]),
                (600, [0, 0, 191]),
            ] {
                let expected = match format {
                    PixelFormat::Grey => {
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
        for format in PixelFormat::ALL {
            let layout = Layout::new(format, 18, 22);
            let mut frame = card(&layout);
            let whole = to_rgb(&frame, &layout).unwrap();
            frame.extend_from_slice(&[1; 10]);
            assert_eq!(to_rgb(&frame, &layout).unwrap(), whole);
            assert_eq!(to_rgb(&[], &layout).unwrap().dimensions(), (18, 22));
        }
    }
}
