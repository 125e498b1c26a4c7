//! One colour: an orange whose red, green and blue differ so much that an
//! exchange of any two is visible.

use super::canvas::Ink;
use super::lines::Lines;
use super::painting::{Band, Line, Painting};
use crate::source::layout::Layout;

/// The colour.
pub const COLOUR: Ink = Ink::rgb(224, 128, 32);

/// A picture of one colour.
#[derive(Debug)]
pub struct Solid {
    lines: Lines,
}

impl Solid {
    /// Makes the picture for frames of that layout.
    pub fn new(layout: &Layout) -> Self {
        let end = layout.width as i32;
        Self {
            lines: Lines::new(layout, layout.width, 1, |_, row| row.fill(0, end, COLOUR)),
        }
    }
}

impl Painting for Solid {
    fn band(&self, plane: usize, _y: u32) -> Band<'_> {
        Band {
            line: Line::Still(self.lines.get(plane, 0, 0)),
            end: u32::MAX,
        }
    }
}
