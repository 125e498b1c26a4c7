//! Still pictures.

use std::io::{Cursor, Read};

use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageReader, Limits};

use super::error::{Fault, FilmError, PictureFault};
use super::input::Input;
use super::jpeg;
use super::size::{self, MAX_SIDE};
use super::trailing::another_begins;
use crate::source::layout::Layout;
use crate::source::raster::Raster;

/// Maximal length of a picture's file, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Decodes a picture. It is turned upright by its orientation, and laid on
/// black where it is transparent. A picture larger than the card's largest
/// frame is reduced to fit into it, because the card holds it as long as the
/// card lives, and a small file may hold a large picture.
pub fn read(input: Input) -> Result<(Raster, Box<[u8]>), FilmError> {
    let name = input.name().to_owned();
    decode(input).map_err(|fault| FilmError::Broken { name, fault })
}

fn decode(input: Input) -> Result<(Raster, Box<[u8]>), Fault> {
    let name = input.name().to_owned();
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Fault::TooLong(MAX_BYTES));
    }
    let (mut picture, orientation) = match bytes.starts_with(jpeg::MAGIC) {
        true => jpeg::decode(&bytes)?,
        false => decode_png(bytes)?,
    };
    if blacken(&mut picture) {
        log::info!("{name} is transparent in places, which are shown on black");
    }
    picture.apply_orientation(orientation);
    let (width, height) = picture.dimensions();
    let most = (Layout::MAX_WIDTH, Layout::MAX_HEIGHT);
    if width > most.0 || height > most.1 {
        picture = picture.thumbnail(most.0, most.1);
    }
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    size::check(width, height)?;
    let raster = Raster::rgb(width, height);
    Ok((raster, picture.into_raw().into_boxed_slice()))
}

/// The signature of a PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn decode_png(bytes: Vec<u8>) -> Result<(DynamicImage, Orientation), Fault> {
    if another_begins(behind_png(&bytes), PNG) {
        return Err(PictureFault::Several.into());
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    Ok((DynamicImage::from_decoder(decoder)?, orientation))
}

/// Returns the bytes behind the last chunk of a PNG. Each chunk has a length, a
/// name of four letters, and four more bytes than its length.
fn behind_png(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.get(PNG.len()..).unwrap_or_default();
    while let Some((&[length @ .., b0, b1, b2, b3], behind)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes(length) as usize;
        rest = behind.get(length + 4..).unwrap_or_default();
        if [b0, b1, b2, b3] == *b"IEND" {
            return rest;
        }
    }
    &[]
}

/// Lays a picture on black; returns whether any pixel was transparent. A
/// transparent pixel has a colour too, which is not meant to be seen.
fn blacken(picture: &mut DynamicImage) -> bool {
    if !picture.color().has_alpha() {
        return false;
    }
    let mut pixels = std::mem::take(picture).into_rgba8();
    let mut shows = false;
    for pixel in pixels.pixels_mut() {
        let [colours @ .., alpha] = &mut pixel.0;
        shows |= *alpha != 255;
        for colour in colours {
            let product = u32::from(*colour) * u32::from(*alpha);
            *colour = ((product + 127) / 255) as u8;
        }
        *alpha = 255;
    }
    // The alpha is dropped, because it takes a quarter of the memory.
    *picture = DynamicImage::from(pixels).into_rgb8().into();
    shows
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    #[test]
    fn what_is_transparent_is_black() {
        for (pixel, shown, shows) in [
            ([255, 0, 255, 0], [0, 0, 0], true),
            ([255, 0, 255, 255], [255, 0, 255], false),
            ([200, 100, 0, 128], [100, 50, 0], true),
        ] {
            let picture = RgbaImage::from_pixel(9, 2, Rgba(pixel));
            let mut png = Cursor::new(Vec::new());
            picture.write_to(&mut png, ImageFormat::Png).unwrap();
            let (mut picture, _) = decode_png(png.into_inner()).unwrap();
            assert_eq!(blacken(&mut picture), shows);
            assert!(picture.to_rgb8().pixels().all(|pixel| pixel.0 == shown));
        }
    }

    #[test]
    fn several_are_refused() {
        let mut png = Cursor::new(Vec::new());
        let picture = RgbaImage::from_pixel(9, 2, Rgba([1, 2, 3, 255]));
        picture.write_to(&mut png, ImageFormat::Png).unwrap();
        let png = png.into_inner();
        for filled in [&[][..], &[0; 9]] {
            assert!(decode_png([&png, filled].concat()).is_ok());
            let error = decode_png([&png, filled, &png].concat()).unwrap_err();
            assert!(error.to_string().contains("several pictures"), "{error}");
        }
    }

    /// The colour of a transparent pixel is not mixed into its neighbours when
    /// the picture is reduced.
    #[test]
    fn a_large_one_is_laid_on_black_before_it_is_reduced() {
        let picture = RgbaImage::from_fn(2 * Layout::MAX_WIDTH, 2, |x, _| {
            Rgba([255, 0, 255, if x % 2 == 0 { 0 } else { 255 }])
        });
        let file = tempfile::NamedTempFile::with_suffix(".png").unwrap();
        picture.save(file.path()).unwrap();
        let input = Input::open(file.path().to_str().unwrap(), &Default::default()).unwrap();
        let (raster, bytes) = read(input).unwrap();
        assert_eq!((raster.width, raster.height), (Layout::MAX_WIDTH, 1));
        let red = bytes.iter().step_by(3).map(|red| u32::from(*red));
        let mean = red.sum::<u32>() / Layout::MAX_WIDTH;
        assert!((126..=129).contains(&mean), "{mean}");
    }
}
