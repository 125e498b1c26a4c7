//! The error of a conversion.

use fast_image_resize::{ImageBufferError, ResizeError};
use yuv::YuvError;

/// Why a picture could not be converted: never so with a frame of its
/// raster's size.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The frame is shorter than its raster.
    #[error("it has {0} bytes where {1} belong")]
    Short(usize, usize),
    /// What the converter of colours says.
    #[error(transparent)]
    Colour(#[from] YuvError),
    /// What the resizer says.
    #[error(transparent)]
    Size(#[from] ResizeError),
    /// What the resizer says of a plane.
    #[error(transparent)]
    Plane(#[from] ImageBufferError),
}
