//! Pictures that stand still.

use std::io::{Cursor, Read};

use image::{DynamicImage, GenericImageView, ImageDecoder, ImageReader, Limits};

use super::input::Input;
use super::{Fault, FilmError, MAX_SIDE, check_size};
use crate::source::Layout;
use crate::source::raster::Raster;

/// The longest file that is taken for a picture, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Decodes a picture, turned upright if it says how. One that is larger than
/// the card's largest frame is reduced to fit into it, for the card holds it as
/// long as it lives: a small file may be a large picture.
pub fn read(input: Input) -> Result<(Raster, Box<[u8]>), FilmError> {
    let name = input.name().to_owned();
    decode(input).map_err(|fault| FilmError::Broken { name, fault })
}

fn decode(input: Input) -> Result<(Raster, Box<[u8]>), Fault> {
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Fault::TooLong(MAX_BYTES));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    let (width, height) = picture.dimensions();
    let most = (Layout::MAX_WIDTH, Layout::MAX_HEIGHT);
    if width > most.0 || height > most.1 {
        picture = picture.thumbnail(most.0, most.1);
    }
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    check_size(width, height)?;
    let raster = Raster::rgb(width, height);
    Ok((raster, picture.into_raw().into_boxed_slice()))
}
