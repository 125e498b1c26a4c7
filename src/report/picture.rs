//! Frames as pictures for people.

mod capture_sheet;
pub mod contact_sheet;

use image::{DynamicImage, ImageFormat, RgbImage, imageops};

use crate::source::Layout;
use crate::source::convert::{ConvertError, Converter};
use crate::source::raster::Raster;

pub use capture_sheet::{SheetError, write_sheet};
pub use contact_sheet::{ContactSheet, Verdict};

/// The reason why a frame cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The converter refused the frame.
    #[error("a frame of {}x{} {} cannot be shown: {source}", layout.width, layout.height, layout.format)]
    Conversion {
        /// The frame's layout.
        layout: Layout,
        /// The converter's error.
        source: ConvertError,
    },
    /// The frame is not a JPEG.
    #[error("a frame of {}x{} {} cannot be shown: {source}", layout.width, layout.height, layout.format)]
    Jpeg {
        /// The frame's layout.
        layout: Layout,
        /// The decoder's error.
        source: image::ImageError,
    },
}

/// Returns the picture in the bytes of a frame.
///
/// Y'CbCr is decoded as BT.601 in limited range, as the card makes it, and RGB
/// and grey in full range. If the frame is too short, zeros replace the missing
/// bytes; if it is too long, the rest is ignored.
///
/// # Errors
///
/// [`PictureError`] if a compressed frame is not a JPEG, or [`Layout::new`]
/// makes no such layout.
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
    let Some(raster) = Raster::of(layout) else {
        let decoded = image::load_from_memory_with_format(frame, ImageFormat::Jpeg);
        return match decoded.map(DynamicImage::into_rgb8) {
            Ok(picture) => Ok(cut(picture, layout)),
            Err(source) => Err(PictureError::Jpeg {
                layout: *layout,
                source,
            }),
        };
    };
    let (width, height) = (layout.width, layout.height);
    let rgb = Raster::rgb(width, height);
    let mut pixels = vec![0; rgb.bytes];
    Converter::new(&raster, None, &rgb)
        .convert(frame, &mut pixels)
        .map_err(|source| PictureError::Conversion {
            layout: *layout,
            source,
        })?;
    let picture = RgbImage::from_raw(width, height, pixels);
    Ok(picture.unwrap_or_default())
}

/// Returns the picture in the size of its layout, which a JPEG may not have.
fn cut(picture: RgbImage, layout: &Layout) -> RgbImage {
    if picture.dimensions() == (layout.width, layout.height) {
        return picture;
    }
    let mut whole = RgbImage::new(layout.width, layout.height);
    imageops::replace(&mut whole, &picture, 0, 0);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Begun, Camera, FrameInfo, Pattern, PixelFormat};

    /// Returns the first frame of the test card.
    pub(super) fn card(layout: &Layout) -> Vec<u8> {
        let mut camera = Camera::with("card", Box::new(Pattern::default()));
        camera.prepare(layout);
        let Begun::Frame { bytes } = camera.begin(&FrameInfo::default()) else {
            panic!("no frame");
        };
        let mut frame = vec![0; bytes as usize];
        for plane in layout.memory_planes() {
            let mut offset = plane.offset as usize;
            let end = frame.len().min(offset + plane.sizeimage as usize);
            for block in frame[offset..end].chunks_mut(4096) {
                camera.fill(offset, block);
                offset += block.len();
            }
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
                    PixelFormat::Grey | PixelFormat::Y16 => {
                        let luma = 0.299 * f64::from(colour[0])
                            + 0.587 * f64::from(colour[1])
                            + 0.114 * f64::from(colour[2]);
                        [luma.round() as u8; 3]
                    }
                    _ => colour,
                };
                let got = picture.get_pixel(x, 20).0;
                let near = got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 4);
                assert!(near, "{format} at {x}: {got:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn a_jpeg_of_another_size_is_cut_to_that_of_its_layout() {
        let jpeg = card(&Layout::new(PixelFormat::Mjpg, 64, 48));
        for (width, height) in [(16, 100), (640, 16), (64, 48)] {
            let layout = Layout::new(PixelFormat::Mjpg, width, height);
            assert_eq!(
                to_rgb(&jpeg, &layout).unwrap().dimensions(),
                (width, height)
            );
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
            let empty = to_rgb(&[], &layout);
            match format.is_compressed() {
                true => assert!(matches!(empty, Err(PictureError::Jpeg { .. }))),
                false => assert_eq!(empty.unwrap().dimensions(), (18, 22)),
            }
        }
    }
}
