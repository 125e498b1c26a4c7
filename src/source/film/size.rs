//! The limit on the size of a picture.

/// Maximal width and height of a picture, in pixels.
pub const MAX_SIDE: u32 = 8192;

/// The error of a picture that is too large or empty, with its width and height
/// in pixels.
#[derive(Debug, thiserror::Error)]
#[error("a picture of {0}x{1} is not between 1x1 and {MAX_SIDE}x{MAX_SIDE}")]
pub struct SizeError(u32, u32);

/// Refuses a picture that is empty, or larger than [`MAX_SIDE`].
pub fn check(width: u32, height: u32) -> Result<(), SizeError> {
    let is_read = |side| (1..=MAX_SIDE).contains(&side);
    match is_read(width) && is_read(height) {
        true => Ok(()),
        false => Err(SizeError(width, height)),
    }
}
