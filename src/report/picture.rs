//! Frames as pictures for a person.

pub mod contact_sheet;

use image::{DynamicImage, RgbImage};

use crate::source::Layout;
use crate::source::convert::{ConvertError, Converter};
use crate::source::raster::Raster;

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
        source: ConvertError,
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
    let Some(raster) = Raster::of(layout) else {
        let decoded = image::load_from_memory(frame);
        return decoded
            .map(DynamicImage::into_rgb8)
            .map_err(|source| PictureError::Jpeg {
                layout: *layout,
                source,
            });
    };
    let (width, height) = (layout.width, layout.height);
    let mut converter = Converter::new(&raster, None, &Raster::rgb(width, height));
    converter
        .convert(frame)
        .map_err(|source| PictureError::Conversion {
            layout: *layout,
            source,
        })?;
    let picture = RgbImage::from_raw(width, height, converter.into_output(frame));
    Ok(picture.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{FrameInfo, Pattern, PixelFormat, Source};

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
