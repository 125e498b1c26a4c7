//! The checkerboard: black and white squares, the first one white, with eight
//! along the shorter side of the picture.

use super::canvas::Ink;
use super::lines::{Lines, even};
use super::painting::{Band, Line, Painting};
use crate::source::layout::Layout;

/// The checkerboard.
#[derive(Debug)]
pub struct Checkerboard {
    /// A line that begins with white, and one that begins with black.
    lines: Lines,
    side: u32,
}

/// Returns the side of a square, in pixels; even.
pub fn side(layout: &Layout) -> u32 {
    even(layout.width.min(layout.height) / 8)
}

impl Checkerboard {
    /// Makes the checkerboard for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let side = side(layout);
        let lines = Lines::new(layout, layout.width, 2, |first, row| {
            for (square, x) in (0..layout.width).step_by(side as usize).enumerate() {
                let level = if (square + first) % 2 == 0 { 255 } else { 0 };
                row.fill(x as i32, (x + side) as i32, Ink::grey(level));
            }
        });
        Self { lines, side }
    }
}

impl Painting for Checkerboard {
    fn band(&self, plane: usize, y: u32) -> Band<'_> {
        let row = y / self.side;
        Band {
            line: Line::Still(self.lines.get(plane, (row % 2) as usize, 0)),
            end: (row + 1) * self.side,
        }
    }
}
