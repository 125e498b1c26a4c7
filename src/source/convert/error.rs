//! The error of a conversion.

use fast_image_resize::{ImageBufferError, ResizeError};
use yuv::YuvError;

/// The reason why a picture could not be converted. A frame of its raster's
/// size never fails.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The frame is shorter than its raster.
    #[error("it has {0} bytes where {1} belong")]
    Short(usize, usize),
    /// The colour converter failed.
    #[error(transparent)]
    Colour(#[from] YuvError),
    /// The resizer failed.
    #[error(transparent)]
    Size(#[from] ResizeError),
    /// The resizer refused a plane's buffer.
    #[error(transparent)]
    Plane(#[from] ImageBufferError),
}
