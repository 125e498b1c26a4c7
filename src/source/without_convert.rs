//! Replaces the converter where the cargo feature `films` is off. No source has
//! frames in a raster of its own then.

use super::raster::Raster;
use super::settings::Rect;

/// The error of every conversion.
#[derive(Debug, thiserror::Error)]
#[error("this pinhole was built without films and pictures (the cargo feature \"films\")")]
pub struct ConvertError;

/// A converter that converts nothing.
#[derive(Debug)]
pub struct Converter;

/// Returns whether the rasters differ.
pub fn is_needed(from: &Raster, crop: Option<Rect>, to: &Raster) -> bool {
    from != to || crop.is_some()
}

impl Converter {
    /// Returns a converter; rasters do not matter.
    pub fn new(_from: &Raster, _crop: Option<Rect>, _to: &Raster) -> Self {
        Self
    }

    /// Refuses to convert a frame.
    ///
    /// # Errors
    /// [`ConvertError`], always.
    pub fn convert(&mut self, _frame: &[u8], _out: &mut [u8]) -> Result<(), ConvertError> {
        Err(ConvertError)
    }
}
