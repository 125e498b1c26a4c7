//! The limit on the size of a picture.

/// The widest and the highest picture that is read, in pixels.
pub const MAX_SIDE: u32 = 8192;

/// A picture that is too large, or has no size at all: its pixels across and
/// down.
#[derive(Debug, thiserror::Error)]
#[error("a picture of {0}x{1} is not between 1x1 and {MAX_SIDE}x{MAX_SIDE}")]
pub struct SizeError(u32, u32);

/// Refuses a picture of another size than is read.
pub fn check(width: u32, height: u32) -> Result<(), SizeError> {
    let is_read = |side| (1..=MAX_SIDE).contains(&side);
    match is_read(width) && is_read(height) {
        true => Ok(()),
        false => Err(SizeError(width, height)),
    }
}
