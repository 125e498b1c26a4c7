//! The size of the frame that a cell asks for.
//!
//! A cell's frame is GREY, one byte per pixel, so that it has as many bytes as
//! pixels. With the right width and height it ends at any wanted byte of a
//! page.

use super::{Kind, PAGE};

/// Least width and height of the card's frames.
const MIN: usize = 16;
/// Greatest width and height that are tried; they are within the card's limits.
const MAX: usize = 2048;

/// Width and height of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSize {
    /// Pixels per line.
    pub width: u32,
    /// Lines.
    pub height: u32,
}

/// The card can make no frame with that tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no frame has {tail} bytes beyond whole pages")]
pub struct NoSuchFrame {
    tail: u32,
}

impl FrameSize {
    /// Returns the size of a frame with `tail` bytes beyond whole pages, for
    /// memory of that kind.
    ///
    /// The frame has about as many bytes as [`Kind::length`] says. The number
    /// of pages is the first, searched from there downwards and then upwards,
    /// for which the card can make a frame.
    ///
    /// # Errors
    ///
    /// [`NoSuchFrame`] if no frame of about that size has that tail.
    pub fn new(kind: Kind, tail: u32) -> Result<Self, NoSuchFrame> {
        let wanted = kind.length() / PAGE;
        let none = NoSuchFrame { tail };
        if tail as usize >= PAGE {
            return Err(none);
        }
        let whole = match tail {
            0 => wanted,
            _ => wanted - 1,
        };
        let pages = (whole.saturating_sub(8)..=whole)
            .rev()
            .chain(whole + 1..=whole + 8);
        pages
            .filter_map(|pages| Self::of(pages * PAGE + tail as usize))
            .next()
            .ok_or(none)
    }

    /// Returns the size of the most nearly square frame of exactly `bytes`
    /// bytes.
    fn of(bytes: usize) -> Option<Self> {
        let height = (MIN..=bytes.isqrt())
            .rev()
            .find(|height| bytes.is_multiple_of(*height))?;
        let width = bytes / height;
        (width <= MAX).then_some(Self {
            width: width as u32,
            height: height as u32,
        })
    }

    /// Returns the size of the frame in bytes.
    pub fn bytes(self) -> usize {
        self.width as usize * self.height as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_where_they_should() {
        for tail in [0, 1, 55, 64, 100, 2048, 4095] {
            for kind in Kind::ALL {
                let size = FrameSize::new(*kind, tail).unwrap();
                assert_eq!(size.bytes() % PAGE, tail as usize);
                assert!(size.bytes().abs_diff(kind.length()) <= 9 * PAGE);
                for side in [size.width, size.height] {
                    assert!((MIN..=MAX).contains(&(side as usize)), "{size:?}");
                }
            }
        }
        let whole = FrameSize::new(Kind::AnonTouched, 0).unwrap();
        assert_eq!(whole.bytes(), Kind::AnonTouched.length());
    }

    #[test]
    fn a_tail_of_a_page_or_more_is_refused() {
        assert!(FrameSize::new(Kind::AnonTouched, 4096).is_err());
    }
}
